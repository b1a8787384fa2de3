// The evaluation report's own part: a card for each document with errors and each case, and a filter by benchmark.

const cards = data.documents.map((row, number) => {
  const facts = [
    make("span", { "class": "id" }, row.document_id ?? "no id"),
    make("span", {}, `${row.benchmark} #${thousands(row.position)}`),
  ];
  return makeCard(row, `document-${number}`, facts, row.title || row.document_id || row.benchmark, row.prompts);
});
document.getElementById("documents").append(...cards);

const hidden = new Set();
function showDocuments() {
  let number = 0;
  cards.forEach((card, n) => {
    card.hidden = hidden.has(data.documents[n].benchmark);
    number += !card.hidden;
  });
  document.getElementById("shown").textContent = `${thousands(number)} documents`;
}
toggles(document.getElementById("benchmarks"), count(data.documents.map((row) => row.benchmark)), hidden, () => "plain", showDocuments);
typeToggles(document.getElementById("types"), data.documents.flatMap((row) => row.mentions));
showDocuments();
