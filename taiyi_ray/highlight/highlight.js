// How documents with their annotations are drawn and answer to pointer and keyboard. A page's own
// script follows behind this one and shares its scope.

const data = JSON.parse(document.getElementById("data").textContent);
const { colours } = data;
const PALETTE = 12; // colours in the style sheet: .c0, .c1 ...
const UNTYPED = "(untyped)";
const LONG = 4000; // code points: longer texts begin folded

const typeOf = (mention) => mention.type ?? UNTYPED;
const spaced = (name) => name.replaceAll("_", " ");
const thousands = (number) => (number ?? 0).toLocaleString("en");
const locatedIn = (mention) =>
  mention.spans?.length ? mention.spans : mention.start == null ? [] : [mention];

/** The class of a type's colour. A type that the page came without gets one that is free. */
function colourOf(type) {
  if (!(type in colours)) {
    const taken = Object.values(colours);
    const free = Array.from({ length: PALETTE }, (_, n) => n).filter((n) => !taken.includes(n));
    colours[type] = free[0] ?? taken.length % PALETTE;
  }
  return colours[type] == null ? "plain" : `c${colours[type]}`;
}

/** Make an element. Strings among the children become text: no data is ever read as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

// ---------------------------------------------------------------------- text with its mentions

/** Append the characters from `start` to `end` with the pieces nested in each other.
 *
 * A piece that reaches over the end of the one around it is cut there and goes on after it.
 * Offsets count code points, so `chars` has one entry for each. Returns how deep they nest.
 */
function appendMarked(parent, chars, pieces, start, end) {
  let at = start, deepest = 0;
  const waiting = pieces.toSorted((a, b) => a.start - b.start || b.end - a.end || a.mention.id - b.mention.id);
  while (waiting.length) {
    const piece = waiting.shift();
    const inside = [], after = [];
    while (waiting.length && waiting[0].start < piece.end) {
      const next = waiting.shift();
      const cut = next.end > piece.end;
      inside.push(cut ? { ...next, end: piece.end, cut } : next);
      if (cut) after.push({ ...next, start: piece.end });
    }
    waiting.unshift(...after);
    parent.append(chars.slice(at, piece.start).join(""));
    const { mention } = piece;
    const type = typeOf(mention);
    const mark = make("mark", {
      "class": colourOf(type), "data-id": mention.id, "data-type": type,
      "data-cut": piece.cut ? "" : null, tabindex: -1,
    });
    if (mention.grounded !== "exact") mark.classList.add("folded");
    const depth = appendMarked(mark, chars, inside, piece.start, piece.end);
    mark.style.setProperty("--under", depth);
    deepest = Math.max(deepest, depth + 1);
    parent.append(mark);
    at = piece.end;
  }
  parent.append(chars.slice(at, end).join(""));
  return deepest;
}

function markedPassage(passage, mentions, tag) {
  const element = make(tag, { lang: passage.language || null, dir: "auto" });
  const chars = Array.from(passage.text);
  const pieces = mentions.flatMap((mention) =>
    locatedIn(mention)
      .map(({ start, end }) => ({
        mention,
        start: Math.max(0, start - passage.offset),
        end: Math.min(chars.length, end - passage.offset),
      }))
      .filter((piece) => piece.start < piece.end));
  appendMarked(element, chars, pieces, 0, chars.length);
  return element;
}

/** Name the types of marks in `data-name`, for styles to show: the last piece of each mention.
 *
 * Of marks around the very same characters, the outermost is named for all, the others are twins.
 */
function nameMarks(root) {
  const named = new Map(), twinOf = new Map();
  for (const mark of root.querySelectorAll("mark")) {
    mark.classList.remove("twin");
    mark.removeAttribute("data-name");
    if (mark.classList.contains("off")) continue;
    const outer = mark.parentElement.closest("mark:not(.off)");
    const twin = outer?.textContent === mark.textContent;
    mark.classList.toggle("twin", twin);
    twinOf.set(mark, twin ? twinOf.get(outer) : mark);
    if (!("cut" in mark.dataset)) named.set(twinOf.get(mark), [...(named.get(twinOf.get(mark)) ?? []), mark.dataset.type]);
  }
  for (const [mark, types] of named) {
    const more = types.length > 2 ? ` +${types.length - 2}` : "";
    mark.dataset.name = types.slice(0, 2).map(spaced).join(", ") + more;
  }
}

// --------------------------------------------------------------------------- lighting mentions

function light(card, ids) {
  card.classList.add("lighting");
  for (const mark of card.querySelectorAll("mark")) {
    mark.classList.toggle("lit", ids.includes(Number(mark.dataset.id)));
  }
}

function unlight(card) {
  card.classList.remove("lighting");
  for (const lit of card.querySelectorAll(".lit")) lit.classList.remove("lit");
}

/** Let a control light mentions while the pointer or the focus is on it. */
function lights(control, ids) {
  const card = () => control.closest("article");
  const on = () => light(card(), ids);
  const off = () => unlight(card());
  control.dataset.ids = ids.join(" ");
  control.addEventListener("mouseenter", on);
  control.addEventListener("focus", on);
  control.addEventListener("mouseleave", off);
  control.addEventListener("blur", off);
  control.addEventListener("click", () => {
    on();
    const mark = card().querySelector("mark.lit");
    if (mark?.closest(".text.folded")) unfold(card());
    mark?.scrollIntoView({ block: "nearest", behavior: calm() ? "instant" : "smooth" });
  });
  return control;
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// -------------------------------------------------------------------------- parts of a document

/** A concept as files write it; its terminology is not always known. */
const identifierOf = ({ db, id }) => (db ? `${db}:${id}` : id);
const score = (value) => (value == null ? null : value.toFixed(2));
const section = (title, ...children) => make("section", {}, make("h3", {}, title), ...children);

function surface(row, text, ids) {
  const mentions = row.mentions.filter(({ id }) => ids.includes(id));
  const type = mentions.map(typeOf).find((name) => name !== UNTYPED) ?? UNTYPED;
  const lang = row.passages[mentions[0]?.passage]?.language;
  return make("span", { "class": `surface ${colourOf(type)}`, lang, dir: "auto" }, text);
}

function relationList(row) {
  const items = row.relations.map((relation) => make("li", {}, lights(
    make("button", { type: "button", "class": "relation" },
      surface(row, relation.head_text, relation.head),
      make("span", { "class": "arrow" },
        make("span", { "aria-hidden": "true" }, "—"),
        make("span", { "class": "type" }, spaced(relation.type)),
        make("span", { "aria-hidden": "true" }, "→")),
      surface(row, relation.tail_text, relation.tail),
      score(relation.score) && make("span", { "class": "score" }, score(relation.score))),
    [...relation.head, ...relation.tail])));
  return section(`Relations (${items.length})`, make("ul", { "class": "relations" }, ...items));
}

function eventList(row) {
  const items = row.events.map((event) => {
    const triggers = row.mentions.filter(({ id }) => id === event.trigger);
    const players = event.arguments.map((argument) => argument.mention).filter((id) => id != null);
    return make("li", {}, lights(
      make("button", { type: "button", "class": "relation" },
        make("span", { "class": "type" }, spaced(event.type)),
        ...triggers.map(({ text, id }) => surface(row, text, [id])),
        ...event.arguments.map((argument) => make("span", { "class": "argument" },
          make("span", { "class": "type" }, spaced(argument.role)), " ",
          surface(row, argument.text, [argument.mention])))),
      [...triggers.map(({ id }) => id), ...players]));
  });
  return section(`Events (${items.length})`, make("ul", { "class": "relations" }, ...items));
}

function labelList({ labels }) {
  return section("Labels", make("ul", { "class": "labels" }, ...labels.map((label) =>
    make("li", {}, make("span", { "class": "type" }, spaced(label.task)), " ", label.label,
      score(label.score) && make("span", { "class": "score" }, ` ${score(label.score)}`)))));
}

function textList({ texts }) {
  return section("Written by the model", ...texts.map((written) => make("figure", {},
    make("figcaption", { "class": "type" }, spaced(written.task)),
    make("blockquote", { lang: languageOf(written.text), dir: "auto" }, written.text))));
}

const languageOf = (text) => (/\p{Script=Han}/u.test(text) ? "zh" : "en");

const failed = ({ errors }) => errors.filter((error) => error.kind !== "not_applicable");

function errorList(errors) {
  return make("ul", { "class": "errors" }, ...errors.map((error) => make("li", {},
    make("strong", {}, spaced(error.kind)), make("span", { "class": "where" }, error.where), " ", error.message)));
}

const table = (headings, rows) => make("div", { "class": "wide" }, make("table", {},
  make("thead", {}, make("tr", {}, ...headings.map((name) => make("th", { scope: "col" }, name)))),
  make("tbody", {}, ...rows)));

/** A <details> whose content is made when it is first opened. */
function onDemand(name, title, content) {
  const element = make("details", { "class": name }, make("summary", {}, title));
  element.addEventListener("toggle", () => element.append(content()), { once: true });
  return element;
}

function mentionTable(row) {
  const groups = new Map();
  for (const mention of row.mentions) {
    const key = JSON.stringify([typeOf(mention), mention.text, mention.concept?.id, mention.note]);
    groups.set(key, [...(groups.get(key) ?? []), mention]);
  }
  return onDemand("mentions", `Mentions (${row.mentions.length})`, () => table(
    ["Text", "Type", "Where", "Concept", "Score"],
    [...groups.values()].map((same) => {
      const found = same.filter((mention) => locatedIn(mention).length);
      const where = found.map(({ start, end }) => `${start}–${end}`).join(", ");
      const { concept } = same[0];
      const ids = same.map(({ id }) => id);
      const name = make("button", { type: "button", "class": "bare" }, surface(row, same[0].text, ids));
      return make("tr", {},
        make("td", {}, lights(name, ids)),
        make("td", {}, spaced(typeOf(same[0])), same[0].note ? make("small", {}, ` ${spaced(same[0].note)}`) : null),
        make("td", { "class": "number" }, where || "not in the text"),
        make("td", {}, concept ? identifierOf(concept) : "", concept?.name ? make("small", {}, ` ${concept.name}`) : null),
        make("td", { "class": "number" }, same.map(({ score: value }) => score(value)).find(Boolean) ?? ""));
    })));
}

const verbatim = (text, language, label) =>
  make("pre", { lang: language || null, dir: "auto", tabindex: 0, role: "group", "aria-label": label }, text);

function promptOf({ messages, language }) {
  return onDemand("prompt", "Prompt", () => make("div", {}, ...messages.flatMap(({ role, content }) => [
    make("p", { "class": "type" }, role), verbatim(content, language, `prompt, ${role}`)])));
}

/** The raw answers, each with its prompt where the prompts are known. */
function answerList({ answers }, prompts) {
  const written = answers.reduce((sum, answer) => sum + answer.output_tokens, 0);
  const key = ({ task, types, language, window }) => JSON.stringify([task, types, language, window]);
  const asked = new Map(prompts.map((prompt) => [key(prompt), prompt]));
  return onDemand("answers", `Raw answers (${answers.length}, ${thousands(written)} tokens)`, () =>
    make("ol", {}, ...answers.map((answer) => make("li", {},
      make("p", { "class": "facts" }, ...[
        make("strong", {}, spaced(answer.task)),
        answer.types.length ? answer.types.map(spaced).join(", ") : null,
        answer.language,
        `window ${answer.window}`,
        `attempt ${answer.attempt}`,
        `${thousands(answer.prompt_tokens)} prompt tokens (${thousands(answer.cached_tokens)} cached)`,
        `${thousands(answer.output_tokens)} written`,
        answer.finish_reason && `ended by ${answer.finish_reason}`,
      ].filter(Boolean).map((fact) => make("span", {}, fact))),
      answer.error && make("p", { "class": "error" }, answer.error),
      asked.has(key(answer)) ? promptOf(asked.get(key(answer))) : null,
      answer.raw == null
        ? make("p", { "class": "none" }, "no answer")
        : verbatim(answer.raw, answer.language, "raw answer")))));
}

const definitions = (entries) => make("dl", {}, ...entries.map(([name, value]) =>
  make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value))));

function reasonList({ errors }) {
  const reasons = errors.filter((error) => error.kind === "not_applicable");
  return onDemand("reasons", `Not asked (${reasons.length})`, () =>
    definitions(reasons.map((reason) => [reason.where, reason.message])));
}

function recordList(row) {
  const facts = { ...row.metadata, language: row.language, unit: row.unit, run: row.run_id, fingerprint: row.fingerprint };
  return onDemand("record", "Record", () => definitions(Object.entries(facts)
    .filter(([, value]) => value)
    .map(([name, value]) => [spaced(name), value])));
}

// ---------------------------------------------------------------------------------- a document

const rowOf = new WeakMap(); // of each card

function unfold(card) {
  card.querySelector(".text").classList.remove("folded");
  card.querySelector(".unfold")?.remove();
}

/** Draw a row with all that was found in it, as an <article>.
 *
 * `facts` stand above the heading, `untitled` is the heading of a document without a title, and
 * `prompts` are what the model was asked, if that is known.
 */
function makeCard(row, id, facts, untitled, prompts = []) {
  const titled = row.passages[0]?.type === "title";
  const body = titled ? row.passages.slice(1) : row.passages;
  const heading = titled ? markedPassage(row.passages[0], row.mentions, "h2") : make("h2", {}, untitled);
  heading.id = id;
  const card = make("article", { "class": row.status, "aria-labelledby": id },
    make("header", {},
      make("p", { "class": "facts" },
        make("span", { "class": `badge ${row.status}` }, row.status), ...facts),
      heading),
    failed(row).length ? errorList(failed(row)) : null);
  rowOf.set(card, row);

  const text = make("div", { "class": "text" });
  const language = row.passages[0]?.language;
  const only = (passage) => body.length === 1 && passage.language === language;
  let last = titled ? row.passages[0] : {};
  for (const passage of body) {
    const foreign = passage.language !== language;
    if (!only(passage) && (passage.type !== last.type || passage.language !== last.language)) {
      text.append(make("h3", {}, spaced(passage.type), foreign ? make("span", { "class": "language" }, passage.language) : null));
    }
    last = passage;
    text.append(markedPassage(passage, row.mentions, "p"));
  }
  const aside = make("aside", { "aria-label": "What was found" });
  if (row.relations.length) aside.append(relationList(row));
  if (row.events.length) aside.append(eventList(row));
  if (row.labels.length) aside.append(labelList(row));
  if (row.texts.length) aside.append(textList(row));
  if (body.length || aside.childNodes.length) {
    const columns = make("div", { "class": "columns" }, make("div", {}, text));
    if (aside.childNodes.length) columns.append(aside);
    card.append(columns);
  }
  const length = body.reduce((sum, passage) => sum + passage.text.length, 0);
  if (length > LONG) {
    text.classList.add("folded");
    const more = make("button", { type: "button", "class": "unfold" }, `Show the whole text (${thousands(length)} characters)`);
    more.addEventListener("click", () => unfold(card));
    text.after(more);
  }
  card.append(make("footer", {},
    row.mentions.length ? mentionTable(row) : null,
    row.answers.length ? answerList(row, prompts) : null,
    row.errors.length > failed(row).length ? reasonList(row) : null,
    recordList(row)));
  card.querySelector("mark")?.setAttribute("tabindex", 0);
  nameMarks(card);
  if (row.mentions.length) {
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", "Text: arrow keys go from mention to mention");
  }
  return card;
}

// -------------------------------------------------------------------------- switches of values

function count(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

/** Fill a group with one toggle for each value; `hidden` holds the values switched off. */
function toggles(group, counts, hidden, look, changed) {
  const chips = counts.map(([value, number]) => {
    const chip = make("button", { type: "button", "class": `chip ${look(value)}`, "aria-pressed": "true", "data-value": value },
      make("i", { "class": "swatch", "aria-hidden": "true" }), spaced(value), " ", make("span", { "class": "number" }, thousands(number)));
    chip.addEventListener("click", () => {
      if (!hidden.delete(value)) hidden.add(value);
      chip.setAttribute("aria-pressed", String(!hidden.has(value)));
      changed();
    });
    return chip;
  });
  group.append(...chips);
  if (chips.length > 2) {
    const all = make("button", { type: "button", "class": "bare all" }, "all / none");
    all.addEventListener("click", () => {
      const off = hidden.size === 0;
      hidden.clear();
      for (const chip of chips) {
        if (off) hidden.add(chip.dataset.value);
        chip.setAttribute("aria-pressed", String(!off));
      }
      changed();
    });
    group.append(all);
  }
  group.hidden = chips.length === 0;
}

/** Fill a group with a toggle for each type of the mentions: what is switched off is plain text. */
function typeToggles(group, mentions) {
  const hidden = new Set();
  toggles(group, count(mentions.map(typeOf)), hidden, colourOf, () => {
    for (const mark of document.querySelectorAll("mark")) {
      mark.classList.toggle("off", hidden.has(mark.dataset.type));
    }
    document.querySelectorAll("article").forEach(nameMarks);
  });
}

// --------------------------------------------------------------- details of the mention in hand

const tip = document.getElementById("tip");
const focused = () => document.activeElement?.closest("mark");

function hideTip() {
  tip.hidden = true;
}

/** Show what is known of a mention and of those around it, from the inside out. */
function showTip(mark) {
  const byId = new Map(rowOf.get(mark.closest("article")).mentions.map((mention) => [mention.id, mention]));
  const around = [];
  for (let outer = mark; outer; outer = outer.parentElement.closest("mark")) {
    if (!outer.classList.contains("off")) around.push(byId.get(Number(outer.dataset.id)));
  }
  const lines = around.map((mention) =>
    make("div", {},
      make("i", { "class": `swatch ${colourOf(typeOf(mention))}` }),
      make("strong", {}, spaced(typeOf(mention))), " ",
      [mention.note && spaced(mention.note),
        around.length > 1 && mention.text,
        score(mention.score) && `score ${score(mention.score)}`,
        mention.concept && `${identifierOf(mention.concept)} ${mention.concept.name ?? ""}`.trim(),
        mention.grounded !== "exact" && `found ${mention.grounded}`,
        `${mention.start}–${mention.end}`].filter(Boolean).join(" · ")));
  tip.replaceChildren(...lines);
  tip.hidden = lines.length === 0;
  const place = mark.getClientRects()[0], size = tip.getBoundingClientRect();
  const above = place.top - size.height - 8;
  tip.style.left = `${Math.max(8, Math.min(place.left, document.documentElement.clientWidth - size.width - 8))}px`;
  tip.style.top = `${above > 8 ? above : place.bottom + 8}px`;
}

/** The mention to go to with a key; the mentions of a card are one stop of Tab. */
function reachedBy(key, mark) {
  const marks = [...mark.closest("article").querySelectorAll("mark:not(.off)")];
  const at = marks.indexOf(mark);
  return {
    ArrowRight: marks[at + 1], ArrowDown: marks[at + 1],
    ArrowLeft: marks[at - 1], ArrowUp: marks[at - 1],
    Home: marks[0], End: marks.at(-1),
  }[key];
}

document.addEventListener("mouseover", ({ target }) => {
  const mark = target.closest("mark") ?? focused();
  if (mark) showTip(mark); else hideTip();
});
document.addEventListener("focusin", ({ target: mark }) => {
  if (!mark.matches("mark")) return;
  const card = mark.closest("article");
  for (const other of card.querySelectorAll("mark[tabindex='0']")) other.setAttribute("tabindex", -1);
  mark.setAttribute("tabindex", 0);
  mark.setAttribute("aria-describedby", tip.id);
  if (mark.closest(".text.folded")) unfold(card);
  light(card, [Number(mark.dataset.id)]);
  for (const control of card.querySelectorAll(`[data-ids~="${mark.dataset.id}"]`)) control.classList.add("lit");
  showTip(mark);
});
document.addEventListener("focusout", ({ target: mark }) => {
  if (!mark.matches("mark")) return;
  mark.removeAttribute("aria-describedby");
  unlight(mark.closest("article"));
  hideTip();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTip();
  const next = event.target.matches("mark") ? reachedBy(event.key, event.target) : null;
  if (!next) return;
  event.preventDefault();
  next.focus();
});
document.addEventListener("scroll", () => {
  if (focused() && !tip.hidden) showTip(focused()); else hideTip();
}, { passive: true });
