// The report's own part: a card for each of its documents, and the filters above them.

const clean = data.documents.map((row) => {
  const full = { ...row };
  for (const name of ["passages", "mentions", "relations", "events", "labels", "texts", "answers", "errors"]) full[name] ??= [];
  return full;
});
const cards = clean.map((row, number) => {
  const { journal, date, year } = row.metadata;
  const facts = [
    make("span", { "class": "id" }, row.document_id ?? "no id"),
    ...[journal, date || year].filter(Boolean).map((fact) => make("span", {}, fact)),
    make("span", { "class": "place" }, `${row.source} #${thousands(row.position)}`),
  ];
  return makeCard(row, `document-${number}`, facts, row.title || row.document_id || "A fault of the source");
});
const haystacks = clean.map((row) =>
  [row.document_id, row.title, row.source, ...row.passages.map((passage) => passage.text)].join("\n").toLowerCase());
document.getElementById("documents").append(...cards);

const hiddenStatuses = new Set();
const search = document.getElementById("search");
const shownNow = document.getElementById("shown");
const nothing = document.getElementById("nothing");

function showDocuments() {
  const wanted = search.value.trim().toLowerCase();
  let number = 0;
  cards.forEach((card, n) => {
    card.hidden = hiddenStatuses.has(clean[n].status) || !haystacks[n].includes(wanted);
    number += !card.hidden;
  });
  shownNow.textContent = `${thousands(number)} of ${thousands(cards.length)} documents`;
  nothing.hidden = number > 0;
}

toggles(document.getElementById("statuses"), count(clean.map((row) => row.status)), hiddenStatuses, (status) => `status ${status}`, showDocuments);
typeToggles(document.getElementById("types"), clean.flatMap((row) => row.mentions));
search.addEventListener("input", showDocuments);
showDocuments();
