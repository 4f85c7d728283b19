"use strict";
// Nothing of the data is ever read as markup: texts become nodes by textContent alone.

function keepTheme() {
  const button = document.getElementById("theme");
  const names = ["auto", "light", "dark"];
  const show = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = "Theme: " + name;
    button.dataset.name = name;
  };
  let kept = "auto";
  try { kept = localStorage.getItem("whoseboat-theme") || "auto"; } catch { /* no storage here: auto */ }
  show(names.includes(kept) ? kept : "auto");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = names[(names.indexOf(button.dataset.name) + 1) % names.length];
    show(next);
    try { localStorage.setItem("whoseboat-theme", next); } catch { /* it holds until the page is closed */ }
  });
}

function markSection() {
  const links = new Map([...document.querySelectorAll(".bar nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    const current = [...links.keys()].find((key) => seen.has(key));
    for (const [key, link] of links) {
      if (key === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-15% 0px -60% 0px" });
  for (const key of links.keys()) {
    const section = document.getElementById(key);
    if (section) watch.observe(section);
  }
}

function explore() {
  const source = document.getElementById("rows");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  source.remove();
  const PER_PAGE = 25;
  const DEFAULTS = { q: "", split: "", side: "", check: "", sort: data.checks.some((one) => one.bad) ? "flags" : "stored" };
  const rows = data.rows.map(([id, split, part, prompt, chosen, rejected, chosenPersona, rejectedPersona, findings], place) => ({
    id, split, part: data.parts[part], prompt, chosen, rejected, chosenPersona, rejectedPersona, findings, place, words: null,
    flags: findings.reduce((count, finding) => count + finding[3], 0),
  }));
  const byId = new Map(rows.map((row) => [row.id, row]));
  const at = (id) => document.getElementById(id);
  const list = at("list"), dialog = at("pair"), controls = ["q", "split", "side", "check", "sort"];
  let state = { ...DEFAULTS, page: 1, pair: "" };
  let found = rows;
  let lastShown = ""; // the pair whose place in the list gets the focus when it is closed

  const text = (value) => (Array.isArray(value) ? value[0] : value);
  const plain = (name) => name.replaceAll("_", " ");
  const make = (name, cls, content) => {
    const element = document.createElement(name);
    if (cls) element.className = cls;
    if (content !== undefined) element.textContent = content;
    return element;
  };

  // ---- what is searched: all texts of a row in small letters, made while nothing else is to be done

  const wordsOf = (row) => {
    if (row.words === null) {
      row.words = [row.id, ...row.prompt.map((turn) => turn[1]), text(row.chosen), text(row.rejected),
        text(row.chosenPersona), text(row.rejectedPersona)].join("\n").toLowerCase();
    }
    return row.words;
  };
  const prepare = (from) => {
    for (let place = from; place < Math.min(from + 400, rows.length); place += 1) wordsOf(rows[place]);
    if (from + 400 < rows.length) setTimeout(prepare, 0, from + 400);
  };

  // ---- which rows, in which order

  const select = () => {
    const wanted = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const side = data.sides.indexOf(state.side);
    const check = data.checks.findIndex((one) => one.name === state.check);
    const isBad = (finding) => finding[3] && (side < 0 || finding[1] === side) && (check < 0 || finding[0] === check);
    const wantsBad = state.side || check >= 0 || state.check === "any";
    found = rows.filter((row) =>
      (!state.split || row.split === state.split)
      && (!wantsBad || row.findings.some(isBad))
      && (state.check !== "none" || row.flags === 0)
      && wanted.every((word) => wordsOf(row).includes(word)));
    if (state.sort === "flags") found.sort((one, other) => other.flags - one.flags || one.place - other.place);
    const by = data.checks.findIndex((one) => "worst " + one.name === state.sort);
    if (by >= 0) found = worstFirst(found, by, side);
  };

  const worstFirst = (of, check, side) => {
    const sign = data.checks[check].lowIsWorse ? 1 : -1;
    const key = (row) => {
      let best = [2, 0];
      for (const [ofCheck, ofSide, value, bad] of row.findings) {
        if (ofCheck !== check || (side >= 0 && ofSide !== side)) continue;
        const own = [bad ? 0 : 1, value === null ? 0 : sign * value];
        if (own[0] < best[0] || (own[0] === best[0] && own[1] < best[1])) best = own;
      }
      return best;
    };
    return of.map((row) => [key(row), row])
      .sort(([one, a], [other, b]) => one[0] - other[0] || one[1] - other[1] || a.place - b.place)
      .map(([, row]) => row);
  };

  // ---- the list

  const hashOf = (changes) => {
    const all = { ...state, ...changes };
    const kept = new URLSearchParams();
    if (all.pair) kept.set("pair", all.pair);
    for (const name of controls) if (all[name] !== DEFAULTS[name]) kept.set(name, all[name]);
    if (all.page > 1) kept.set("page", all.page);
    const written = kept.toString();
    return "#" + (written || "pairs");
  };

  const asked = (row) => {
    const turns = row.prompt.filter((turn) => turn[0] === "user");
    return (turns[turns.length - 1] || row.prompt[row.prompt.length - 1] || ["", ""])[1];
  };

  const item = (row) => {
    const link = make("a");
    link.href = hashOf({ pair: row.id });
    link.dataset.id = row.id;
    const question = make("div", "asked", asked(row).slice(0, 300) || "(nothing)");
    question.dir = "auto";
    const who = make("div", "who");
    for (const side of ["chosen", "rejected"]) {
      const persona = make("span", "", text(row[side + "Persona"]).slice(0, 300));
      persona.dir = "auto";
      who.append(make("span", "is-" + side, side), persona);
    }
    const meta = make("div", "meta");
    meta.append(make("span", "", row.split), make("span", "", row.part));
    const bad = new Set(row.findings.filter((finding) => finding[3]).map((finding) => plain(data.checks[finding[0]].name)));
    if (bad.size) meta.append(make("span", "is-flag", "\u2691 " + [...bad].join(", ")));
    link.append(question, who, meta);
    const element = make("li");
    element.append(link);
    return element;
  };

  const render = () => {
    select();
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    state.page = Math.min(Math.max(1, state.page), pages);
    const first = (state.page - 1) * PER_PAGE;
    list.replaceChildren(...found.slice(first, first + PER_PAGE).map(item));
    at("count").textContent = found.length === rows.length
      ? rows.length.toLocaleString("en") + " pairs"
      : found.length.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " pairs";
    at("page").textContent = "page " + state.page.toLocaleString("en") + " of " + pages.toLocaleString("en");
    at("back").disabled = state.page === 1;
    at("on").disabled = state.page === pages;
  };

  const keep = (changes) => {
    Object.assign(state, changes);
    history.replaceState(null, "", hashOf({}));
    render();
  };

  // ---- a pair

  const labels = (findings) => {
    const made = make("ul", "labels");
    for (const [check, , value, bad, detail] of findings) {
      const number = value === null ? "" : " " + Number(value.toPrecision(3));
      const said = (bad ? "\u2691 " : "") + plain(data.checks[check].name) + number + (detail ? ": " + detail : "");
      const label = make("li", bad ? "bad" : "", said);
      label.dir = "auto";
      made.append(label);
    }
    return made;
  };

  const allLabels = (findings) => {
    const made = make("div");
    const bad = findings.filter((finding) => finding[3]), others = findings.filter((finding) => !finding[3]);
    if (bad.length) made.append(labels(bad));
    if (others.length) {
      const folded = make("details");
      folded.append(make("summary", "", others.length + (others.length === 1 ? " other measurement" : " other measurements")));
      folded.append(labels(others));
      made.append(folded);
    }
    return made;
  };

  const body = (value, cls) => {
    const made = make("div", cls);
    const shown = make("p", "text", text(value));
    shown.dir = "auto";
    made.append(shown);
    if (Array.isArray(value)) {
      made.append(make("p", "cut", "Cut: " + value[0].length.toLocaleString("en") + " of " + value[1].toLocaleString("en") + " characters are shown."));
    }
    return made;
  };

  const turn = ([role, content, left]) => {
    const made = make("div", "turn");
    made.append(make("p", "role", role));
    if (left) made.append(make("p", "cut", "Cut: " + left.toLocaleString("en") + " characters before this are not shown."));
    made.append(body(content));
    return made;
  };

  const fill = (row) => {
    lastShown = row.id;
    at("pair-title").textContent = "Pair " + row.id + " \u00b7 " + row.split + (row.part ? " \u00b7 " + row.part : "");
    const shown = at("shown");
    const earlier = row.prompt.slice(0, -1), last = row.prompt.slice(-1);
    shown.replaceChildren();
    if (earlier.length) {
      const folded = make("details");
      folded.append(make("summary", "", earlier.length + (earlier.length === 1 ? " earlier turn" : " earlier turns")));
      folded.append(...earlier.map(turn));
      shown.append(folded);
    }
    shown.append(...last.map(turn));
    const both = make("div", "sides");
    data.sides.slice(0, 2).forEach((side, number) => {
      const column = make("section", "of-side " + side);
      column.append(make("h3", "is-" + side, side));
      column.append(make("p", "part-name", "inferred persona"), body(row[side + "Persona"], "persona"));
      column.append(allLabels(row.findings.filter((finding) => finding[1] === number)));
      const response = body(row[side], "response");
      response.prepend(make("p", "part-name", "response"));
      column.append(response);
      both.append(column);
    });
    shown.append(both);
    const ofPair = row.findings.filter((finding) => finding[1] === 2);
    if (ofPair.length) shown.append(make("p", "part-name", "of both together"), allLabels(ofPair));
    at("permalink").href = hashOf({ pair: row.id });
    const place = found.indexOf(row);
    at("before").disabled = place <= 0;
    at("after").disabled = place < 0 || place === found.length - 1;
    dialog.scrollTop = 0;
  };

  const show = () => {
    const row = byId.get(state.pair);
    if (!row) {
      if (dialog.open) dialog.close();
      if (state.pair) at("count").textContent += "; pair " + state.pair + " is not among them";
      return;
    }
    fill(row);
    if (!dialog.open) {
      dialog.showModal();
      at("pair-title").focus();
    }
  };

  const step = (by) => {
    const place = found.findIndex((row) => row.id === state.pair) + by;
    if (place < 0 || place >= found.length || !state.pair) return;
    state.page = Math.floor(place / PER_PAGE) + 1;
    state.pair = found[place].id;
    history.replaceState(null, "", hashOf({}));
    show();
  };

  dialog.addEventListener("close", () => {
    keep({ pair: "" });
    const link = [...list.querySelectorAll("a")].find((one) => one.dataset.id === lastShown);
    if (link) link.focus();
  });

  // ---- what the reader does

  const option = (value, name) => {
    const made = make("option", "", name);
    made.value = value;
    return made;
  };
  at("split").append(option("", "all"), ...data.splits.map((split) => option(split, split)));
  at("side").append(option("", "any side"), ...data.sides.map((side) => option(side, side === "pair" ? "both together" : side)));
  const flagged = data.checks.filter((one) => one.bad);
  at("check").append(option("", "all pairs"), option("any", "any flag"), option("none", "no flag"),
    ...flagged.map((one) => option(one.name, plain(one.name) + " (" + one.bad.toLocaleString("en") + ")")));
  at("sort").append(option("stored", "as stored"), option("flags", "most flags"),
    ...data.checks.map((one) => option("worst " + one.name, "worst: " + plain(one.name))));
  if (!data.checks.length) for (const name of ["side", "check"]) at(name).disabled = true;

  const readHash = () => {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=") && hash !== "pairs") return false; // a section
    const given = new URLSearchParams(hash === "pairs" ? "" : hash);
    state = { ...DEFAULTS, pair: given.get("pair") || "", page: Math.max(1, Number.parseInt(given.get("page"), 10) || 1) };
    for (const name of controls) {
      const value = given.get(name);
      if (value !== null && (name === "q" || [...at(name).options].some((one) => one.value === value))) state[name] = value;
    }
    return true;
  };
  const follow = () => {
    if (!readHash()) return;
    for (const name of controls) at(name).value = state[name];
    render();
    show();
  };

  for (const name of controls) {
    at(name).addEventListener(name === "q" ? "input" : "change", () => keep({ [name]: at(name).value, page: 1 }));
  }
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  at("reset").addEventListener("click", (event) => {
    event.preventDefault();
    keep({ ...DEFAULTS, page: 1 });
    for (const name of controls) at(name).value = state[name];
  });
  const turnPage = (by) => {
    keep({ page: state.page + by });
    at("count").scrollIntoView({ block: "start" });
  };
  at("back").addEventListener("click", () => turnPage(-1));
  at("on").addEventListener("click", () => turnPage(1));
  at("before").addEventListener("click", () => step(-1));
  at("after").addEventListener("click", () => step(1));
  at("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  const move = (by) => {
    const links = [...list.querySelectorAll("a")];
    const place = links.indexOf(document.activeElement);
    const next = place < 0 ? (by > 0 ? 0 : links.length - 1) : place + by;
    if (next >= links.length && !at("on").disabled) { keep({ page: state.page + 1 }); list.querySelector("a").focus(); return; }
    if (next < 0 && !at("back").disabled) { keep({ page: state.page - 1 }); [...list.querySelectorAll("a")].at(-1).focus(); return; }
    if (links[next]) links[next].focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches("input, select, textarea");
    if (dialog.open) {
      const by = { j: 1, k: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by) { event.preventDefault(); step(by); }
      return;
    }
    if (isTyping) {
      if (event.key === "Escape" && event.target.id === "q") event.target.blur();
      if (event.key === "Enter" && event.target.id === "q") { event.preventDefault(); move(1); }
      return;
    }
    if (event.key === "/") { event.preventDefault(); at("q").focus(); return; }
    const isInList = list.contains(document.activeElement);
    const by = { j: 1, k: -1, ...(isInList ? { ArrowDown: 1, ArrowUp: -1 } : {}) }[event.key];
    if (by) { event.preventDefault(); move(by); }
  });
  addEventListener("hashchange", follow);

  at("explorer").hidden = false;
  if (!readHash()) state = { ...DEFAULTS, page: 1, pair: "" };
  for (const name of controls) at(name).value = state[name];
  render();
  show();
  setTimeout(prepare, 50, 0);
}

keepTheme();
markSection();
explore();
