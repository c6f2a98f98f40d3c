// Search over the names and meanings in index.js, and what a table of the lineage is tied to. Works from a folder.
"use strict";

(() => {
  const field = document.getElementById("site-search");
  const list = document.getElementById("site-found");
  const root = document.body.dataset.root;
  const MOST = 12;

  // as governance/dictionary.py compares names: lower case, words apart, letters apart from digits
  const normalise = (text) =>
    text.toLowerCase().replace(/[^a-z0-9]+/g, " ").replace(/([a-z])(?=\d)/g, "$1 ").trim();

  const entries = (window.LENDLOOP_INDEX || []).map(([name, kind, page, aliases, text, refused]) => ({
    name, kind, page, text,
    names: [
      { plain: normalise(name), why: "" },
      ...aliases.map((alias) => ({ plain: normalise(alias), why: `also ${alias}` })),
      ...refused.map((word) => ({ plain: normalise(word), why: `instead of ${word}` })),
    ],
    meaning: normalise(text),
  }));

  // steps of insertion, deletion, exchange and swap of neighbours; more than `most` is not counted
  function distance(one, other, most) {
    if (Math.abs(one.length - other.length) > most) return most + 1;
    let before = [], last = Array.from({ length: other.length + 1 }, (_, place) => place);
    for (let i = 1; i <= one.length; i++) {
      const row = [i];
      for (let j = 1; j <= other.length; j++) {
        const same = one[i - 1] === other[j - 1];
        row[j] = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1));
        if (i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]) {
          row[j] = Math.min(row[j], before[j - 2] + 1);
        }
      }
      if (Math.min(...row) > most) return most + 1;
      before = last;
      last = row;
    }
    return last[other.length];
  }

  // a number is not misspelt: PAR-30 is not like PAR-60
  const numbers = (text) => (text.match(/\d+/g) || []).join(" ");

  const allowed = (word) => (word.length < 4 ? 0 : word.length < 8 ? 1 : 2);

  // 0 the name itself, then a further name, a beginning, its words, a misspelling of them, its meaning
  function rank(entry, wanted, words) {
    let best = Infinity, why = "";
    entry.names.forEach(({ plain, why: said }, place) => {
      const parts = plain.split(" ");
      let found = Infinity;
      if (plain === wanted) found = place ? 1 : 0;
      else if (plain.startsWith(wanted)) found = 2 + plain.length / 1000;
      else if (words.every((word) => parts.some((part) => part.startsWith(word)))) found = 3 + plain.length / 1000;
      else if (numbers(plain) === numbers(wanted)) {
        const steps = words.map((word) =>
          Math.min(...parts.map((part) => (part.startsWith(word) ? 0 : distance(word, part, allowed(word))))));
        const whole = distance(wanted, plain, allowed(wanted));
        if (words.every((word, at) => steps[at] <= allowed(word))) {
          found = 4 + steps.reduce((sum, step) => sum + step, 0) + plain.length / 1000;
        }
        if (whole <= allowed(wanted)) found = Math.min(found, 4 + whole);
      }
      if (found < best) [best, why] = [found, said];
    });
    if (best === Infinity && words.every((word) => entry.meaning.split(" ").includes(word))) best = 9;
    return { entry, best, why };
  }

  let shown = [], chosen = -1;

  function search() {
    const wanted = normalise(field.value);
    if (!wanted) return close();
    const words = wanted.split(" ");
    shown = entries.map((entry) => rank(entry, wanted, words)).filter(({ best }) => best < Infinity)
      .sort((one, other) => one.best - other.best || one.entry.name.localeCompare(other.entry.name)).slice(0, MOST);
    list.replaceChildren(...shown.map(({ entry, why }, place) => {
      const item = document.createElement("li");
      item.id = `site-found-${place}`;
      item.setAttribute("role", "option");
      const name = document.createElement("b");
      name.textContent = entry.name;
      const text = document.createElement("span");
      text.textContent = [entry.kind, why, entry.text].filter(Boolean).join(" · ");
      item.append(name, text);
      item.addEventListener("mousedown", (event) => { event.preventDefault(); open(place); });
      return item;
    }));
    if (!shown.length) {
      const item = document.createElement("li");
      item.className = "none";
      item.setAttribute("role", "option");
      item.setAttribute("aria-disabled", "true");
      item.textContent = "Nothing is like it.";
      list.append(item);
    }
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    choose(shown.length ? 0 : -1);
  }

  function choose(place) {
    chosen = place;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === place)));
    if (place < 0) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", `site-found-${place}`);
    list.children[place].scrollIntoView({ block: "nearest" });
  }

  function open(place) {
    if (shown[place]) location.href = root + shown[place].entry.page;
    close();
  }

  function close() {
    shown = [];
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    choose(-1);
  }

  field.addEventListener("input", search);
  field.addEventListener("focus", search);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && shown.length) {
      event.preventDefault();
      choose((chosen + step + shown.length) % shown.length);
    } else if (event.key === "Enter") open(chosen);
    else if (event.key === "Escape") { close(); field.blur(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && event.target !== field) {
      event.preventDefault();
      field.focus();
    }
  });

  document.querySelectorAll("svg.lineage").forEach((picture) => {
    const look = (box) => {
      picture.classList.toggle("looking", Boolean(box));
      picture.querySelectorAll(".near").forEach((part) => part.classList.remove("near"));
      if (!box) return;
      const near = new Set([box.dataset.key]);
      for (const end of ["from", "to"]) {
        const other = end === "from" ? "to" : "from";
        const edge = [box.dataset.key];
        while (edge.length) {
          const key = edge.pop();
          picture.querySelectorAll(`.way[data-${end}="${CSS.escape(key)}"]`).forEach((way) => {
            way.classList.add("near");
            const next = way.dataset[other];
            if (!near.has(next)) { near.add(next); edge.push(next); }
          });
        }
      }
      picture.querySelectorAll(".box").forEach((one) => one.classList.toggle("near", near.has(one.dataset.key)));
    };
    picture.querySelectorAll(".box").forEach((box) => {
      box.addEventListener("mouseenter", () => look(box));
      box.addEventListener("mouseleave", () => look(null));
      box.addEventListener("focus", () => look(box));
      box.addEventListener("blur", () => look(null));
    });
    const focus = picture.querySelector("[aria-current]");
    if (focus) {
      const frame = picture.parentElement, at = focus.querySelector("rect").getBBox();
      frame.scrollLeft = at.x + at.width / 2 - frame.clientWidth / 2;
      frame.scrollTop = at.y - frame.clientHeight / 2;
    }
  });
})();
