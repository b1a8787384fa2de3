// The page's own part: the form, the request, and what came back.

const at = (id) => document.getElementById(id);
const text = at("text"), result = at("result"), status = at("status"), wrong = at("wrong");
const KEY = "taiyi_ray key"; // in sessionStorage: gone with the tab

// ------------------------------------------------------------------------------ the service

/** What the service refused, or why it could not be asked. */
class Refused extends Error {
  constructor(message, { code = 0, request = null, after = null } = {}) {
    super(message);
    Object.assign(this, { code, request, after });
  }
}

/** The JSON that a route answers with; `body` makes it a POST. Raises Refused, or AbortError. */
async function call(path, body, signal) {
  const headers = { accept: "application/json" };
  if (body) headers["content-type"] = "application/json";
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  let response, told;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
    told = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const status = response && !response.ok ? ` (${response.status})` : "";
    throw new Refused(`The service does not answer${status}: it may be starting, or the connection is broken. Try again.`);
  }
  if (response.ok) return told;
  throw new Refused(told.error?.message ?? `The service answered ${response.status}.`, {
    code: response.status,
    request: response.headers.get("x-request-id"),
    after: response.headers.get("retry-after"),
  });
}

// -------------------------------------------------------------------------------- the text

const FORMS = {
  text: "",
  titled: "The first line is the title.",
  dialogue: "Each line is a turn, as in “Patient: …” and “Doctor: …”.",
  pair: "The first line is one text, the second the other.",
};
const SPEAKER = /^\s*(patient|doctor|患者|病人|医生)\s*[:：]\s*/i;
const ROLE = { 患者: "patient", 病人: "patient", 医生: "doctor" };

/** The passages of a text that is read as something else than one text. */
function passagesOf(form, written) {
  const lines = written.split("\n").filter((line) => line.trim());
  if (form === "titled") {
    const [title, ...rest] = lines;
    return [{ type: "title", text: title }, ...(rest.length ? [{ type: "abstract", text: rest.join("\n") }] : [])];
  }
  if (form === "pair") return lines.map((line) => ({ type: "text", text: line }));
  const turns = [];
  for (const line of lines) {
    const speaker = line.match(SPEAKER);
    if (!speaker && turns.length) turns.at(-1).text += `\n${line}`;
    else turns.push({ type: speaker ? ROLE[speaker[1]] ?? speaker[1].toLowerCase() : "text", text: line.replace(SPEAKER, "") });
  }
  return turns.filter((turn) => turn.text);
}

function textChanged() {
  const length = Array.from(text.value).length;
  at("size").textContent = length ? `${thousands(length)} characters` : "";
  const language = at("language").value;
  text.lang = language === "auto" ? languageOf(text.value) : language;
  text.removeAttribute("aria-invalid");
}

function formChanged() {
  at("form-help").textContent = FORMS[at("form").value];
}

/** Put a sample into the text field, so that Ctrl+Z brings back what was there. */
function pick(sample) {
  at("form").value = sample.form;
  at("language").value = "auto";
  text.focus();
  text.select();
  if (!document.execCommand("insertText", false, sample.text)) text.value = sample.text;
  text.setSelectionRange(0, 0);
  text.scrollTop = 0;
  text.scrollIntoView({ block: "nearest" });
  textChanged();
  formChanged();
  say(`The sample “${sample.name}” is in the text field.`);
}

for (const [language, title] of [["en", "English samples"], ["zh", "中文样例"]]) {
  at("samples").append(make("div", { "class": "group", role: "group", "aria-label": title, lang: language },
    ...data.samples.filter((sample) => sample.language === language).map((sample) => {
      const button = make("button", { type: "button", "class": "link" }, sample.name);
      button.addEventListener("click", () => pick(sample));
      return button;
    })));
}

// ------------------------------------------------------------------------------- the tasks

const tasks = new Map(); // name -> the checkbox, and what reads the task's options

/** Chips to choose from, and a field for what is not among them. */
function choices(name, values, what) {
  const boxes = values.map((value) => make("input", { type: "checkbox", value, checked: "" }));
  const chips = boxes.map((box) => make("label", { "class": `chip pick ${name === "ner" ? colourOf(box.value) : "plain"}` },
    box, make("i", { "class": "swatch", "aria-hidden": "true" }), spaced(box.value)));
  const others = make("input", { type: "text", id: `others-${name}`, placeholder: "separated by commas", autocomplete: "off" });
  return {
    parts: [
      make("div", { "class": "group", role: "group", "aria-label": what }, ...chips),
      make("label", { "class": "inline" }, "Others", others),
    ],
    read() {
      const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
      const named = others.value.split(/[,，;；]/).map((value) => value.trim()).filter(Boolean);
      if (!chosen.length && !named.length) throw new Invalid(`${name}: choose one of the ${what} at least.`, boxes[0]);
      return [...chosen, ...named];
    },
  };
}

/** A field for the options of a task, as JSON, with what they mean. */
function jsonOptions({ name, options, example }) {
  const given = example.options[name] ?? {};
  const lines = Object.entries(given).map(([option, value]) =>
    `  ${JSON.stringify(option)}: ${JSON.stringify(value, null, 1).replace(/\n\s*/g, " ")}`);
  const written = lines.length ? `{\n${lines.join(",\n")}\n}` : "{}";
  const field = make("textarea", {
    id: `options-${name}`, rows: lines.length + 2, spellcheck: "false", "aria-label": `Options of ${name}, as JSON`,
    lang: languageOf(written), "aria-describedby": `meaning-${name}`,
  }, written);
  field.addEventListener("input", () => field.removeAttribute("aria-invalid"));
  const meanings = definitions(Object.entries(options).filter(([option]) => option !== "wording")
    .map(([option, { description, required }]) => [option, make("span", {}, required ? "(required) " : "",
      ...description.split("`").map((part, n) => (n % 2 ? make("code", {}, part) : part)))]));
  meanings.id = `meaning-${name}`;
  const needed = Object.keys(given).length > 0;
  const inside = [field, ...(meanings.childElementCount ? [meanings] : [])];
  if (!meanings.childElementCount) field.removeAttribute("aria-describedby");
  return {
    parts: needed ? inside : [make("details", {}, make("summary", {}, "Options"), ...inside)],
    read() {
      let value;
      try {
        value = JSON.parse(field.value.trim() || "{}");
      } catch (error) {
        throw new Invalid(`${name}: the options are not JSON (${error.message}).`, field);
      }
      if (value === null || typeof value !== "object" || Array.isArray(value)) {
        throw new Invalid(`${name}: the options must be an object, as in {"name": "value"}.`, field);
      }
      return value;
    },
  };
}

/** The options of a task: chips where it has types to choose from, JSON elsewhere. */
function optionsOf(task) {
  if (task.name === "re") {
    const relations = choices("re", task.options.relations.default, "relation types");
    return { parts: relations.parts, read: () => ({ relations: relations.read() }) };
  }
  if (task.name !== "ner") return jsonOptions(task);
  const types = choices("ner", task.options.types.default, "mention types");
  const ask = make("select", { id: "ask-about" },
    make("option", { value: "apart" }, "Each type in its own question"),
    make("option", { value: "together" }, "All types in one question"));
  ask.value = task.options.ask.default;
  return {
    parts: [...types.parts, make("label", { "class": "inline" }, "Asked", ask)],
    read: () => ({ types: types.read(), ask: ask.value }),
  };
}

function addTask(task) {
  const { parts, read } = optionsOf(task);
  const box = make("input", { type: "checkbox", value: task.name });
  box.checked = data.tasks.includes(task.name);
  const options = make("div", { "class": "options", role: "group", "aria-label": `Options of ${task.name}` }, ...parts);
  const show = () => { options.hidden = !box.checked; };
  box.addEventListener("change", show);
  show();
  tasks.set(task.name, { box, read });
  at("tasks").append(make("li", {},
    make("label", { "class": "task" }, box, make("code", {}, task.name), make("span", { "class": "help" }, task.summary)),
    options));
}

let loading = null;

/** Ask what can be asked, once: the tasks, and the models where there are some to choose from. */
function load() {
  loading ??= Promise.all([call("v1/tasks"), data.with_models ? call("v1/models") : { data: [] }]).then(([described, models]) => {
    described.tasks.forEach(addTask);
    at("model").append(...models.data.map(({ id }) => make("option", {}, id)));
    at("model-field").hidden = models.data.length === 0;
  }).catch((error) => {
    loading = null; // the next time may do
    throw error;
  });
  return loading;
}

// ----------------------------------------------------------------------------- the request

/** What is wrong with the form, and in which field. */
class Invalid extends Error {
  constructor(message, field) {
    super(message);
    this.field = field;
  }
}

/** The body of POST /v1/annotate; raises Invalid. */
function request() {
  const written = text.value, form = at("form").value;
  if (!written.trim()) throw new Invalid("There is no text yet: paste one, or pick a sample.", text);
  const chosen = [...tasks].filter(([, { box }]) => box.checked);
  if (!chosen.length) throw new Invalid("Choose one task at least.", [...tasks.values()][0].box);
  return {
    ...(form === "text" ? { text: written } : { documents: [{ passages: passagesOf(form, written) }] }),
    ...(at("model").value ? { model: at("model").value } : {}),
    tasks: chosen.map(([name]) => name),
    options: Object.fromEntries(chosen.map(([name, { read }]) => [name, read()])),
    language: at("language").value,
    grounding: at("grounding").value,
    scores: at("scores").checked,
    prompts: true,
  };
}

function say(words) {
  status.textContent = words;
}

/** Tell what went wrong: a missing key at its field, all else above the button. */
function tell(error) {
  say("");
  if (error.code === 401) {
    sessionStorage.removeItem(KEY);
    at("forget").hidden = true;
    at("key-field").hidden = false;
    at("key-why").textContent = error.message;
    at("key").focus();
    return;
  }
  const after = error.after ? ` (It asks to wait ${error.after} s.)` : "";
  wrong.replaceChildren(error.message + after, ...(error.request ? [make("small", {}, `request ${error.request}`)] : []));
  const task = error.code === 422 && error.message.match(/^options: (\w+)/)?.[1];
  const field = error.field ?? (task && at(`options-${task}`));
  if (!field) return;
  if (!field.matches("[type=checkbox]")) field.setAttribute("aria-invalid", "true");
  field.focus();
}

let running = null; // the AbortController of the request under way

function showRunning(controller) {
  running = controller;
  const began = performance.now();
  at("annotate").setAttribute("aria-disabled", "true");
  at("cancel").hidden = false;
  result.setAttribute("aria-busy", "true");
  say("Annotating …");
  const clock = setInterval(() => {
    at("elapsed").textContent = `${((performance.now() - began) / 1000).toFixed(1)} s`;
  }, 100);
  return () => {
    clearInterval(clock);
    running = null;
    if (document.activeElement === at("cancel")) at("annotate").focus();
    at("elapsed").textContent = "";
    at("annotate").removeAttribute("aria-disabled");
    at("cancel").hidden = true;
    result.removeAttribute("aria-busy");
    return (performance.now() - began) / 1000;
  };
}

async function annotate() {
  if (running) return;
  wrong.replaceChildren();
  const controller = new AbortController();
  const stop = showRunning(controller);
  try {
    await load();
    const answer = await call("v1/annotate", request(), controller.signal);
    show(answer, stop());
  } catch (error) {
    stop();
    if (error.name === "AbortError") say("Cancelled.");
    else tell(error);
  }
}

// ------------------------------------------------------------------------------ the result

const seconds = (value) => `${value.toFixed(value < 10 ? 2 : 1)} s`;
const counted = (number, name) => `${thousands(number)} ${name}${number === 1 ? "" : "s"}`;

/** Show a response; `took` is how many seconds it took as seen from here. */
function show({ model, rows: [row], prompts: [prompts], usage, seconds: spent }, took) {
  row.mentions.map(typeOf).sort().forEach(colourOf); // new types get their colours by name
  const counts = [
    [row.mentions, "mention"], [row.relations, "relation"], [row.events, "event"], [row.labels, "label"], [row.texts, "text"],
  ].filter(([things], n) => things.length || n === 0).map(([things, name]) => counted(things.length, name));
  const facts = [
    `model ${model}`,
    ...counts,
    `${seconds(took)} here, ${seconds(spent)} at the service`,
    `${counted(usage.questions, "question")}, ${thousands(usage.prompt_tokens)} prompt tokens (${thousands(usage.cached_tokens)} cached), ${thousands(usage.output_tokens)} written`,
  ].map((fact) => make("span", {}, fact));
  const card = makeCard(row, "document", facts, "Annotated text", prompts);
  if (row.passages[0]?.type !== "title") card.querySelector("h2").classList.add("unseen");
  card.querySelector("header").after(tools(card, row));
  result.replaceChildren(at("result-title"), card);
  const unasked = row.errors.find((error) => error.kind === "not_applicable");
  say(usage.questions || !unasked
    ? `${row.status === "ok" ? "Done" : `Done, ${row.status}`}: ${counts.join(", ")}.`
    : `Nothing was asked: ${unasked.message}.`);
  // Who goes on writing keeps the cursor; all others go to the result.
  if (document.activeElement !== text) result.focus({ preventScroll: true });
  if (result.getBoundingClientRect().top > innerHeight * 0.6) {
    result.scrollIntoView({ block: "start", behavior: calm() ? "instant" : "smooth" });
  }
}

/** The legend with its switches, and a button that copies. */
function tools(card, row) {
  const legend = make("div", { "class": "group", role: "group", "aria-label": "Highlight mentions by type" });
  typeToggles(legend, row.mentions);
  if (row.mentions.length) {
    card.classList.add("named");
    const names = make("button", { type: "button", "class": "chip", "aria-pressed": "true" }, "Type names");
    names.addEventListener("click", () => names.setAttribute("aria-pressed", card.classList.toggle("named")));
    legend.append(names);
  }
  const copying = make("button", { type: "button", "class": "plain-button" }, "Copy as JSON");
  copying.addEventListener("click", async () => {
    const copied = await copy(JSON.stringify(row, null, 2));
    copying.textContent = copied ? "Copied" : "Not copied";
    say(copied ? "The row is in the clipboard, as JSON." : "This browser does not let the page copy.");
    setTimeout(() => { copying.textContent = "Copy as JSON"; }, 2000);
  });
  return make("div", { "class": "tools" }, legend, copying);
}

/** Copy a text, also where the page came over plain HTTP; return whether it worked. */
async function copy(words) {
  try {
    await navigator.clipboard.writeText(words);
    return true;
  } catch {
    const before = document.activeElement;
    const field = make("textarea", { "class": "unseen" }, words);
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    before.focus();
    return copied;
  }
}

// ------------------------------------------------------------------------------------ ties

async function useKey() {
  const key = at("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) {
    at("key-why").textContent = key ? "A key has no blanks, and letters without accents only." : "There is no key yet.";
    at("key").focus();
    return;
  }
  sessionStorage.setItem(KEY, key);
  try {
    await load();
  } catch (error) {
    tell(error);
    return;
  }
  at("key").value = "";
  at("key-why").textContent = "";
  at("key-field").hidden = true;
  at("forget").hidden = false;
  (text.value ? at("annotate") : text).focus();
  say("The key is set.");
}

at("use-key").addEventListener("click", useKey);
at("key").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  useKey();
});
at("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  at("forget").hidden = true;
  at("annotate").focus();
  say("The key is forgotten.");
});
at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  annotate();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  annotate();
});
at("cancel").addEventListener("click", () => running?.abort());
text.addEventListener("input", textChanged);
at("language").addEventListener("change", textChanged);
at("form").addEventListener("change", formChanged);
at("forget").hidden = !sessionStorage.getItem(KEY);
textChanged();
load().catch(tell);
