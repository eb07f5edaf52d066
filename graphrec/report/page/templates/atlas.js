(() => {
  const root = document.currentScript.closest(".atlas");
  const about = JSON.parse(root.querySelector("[data-about]").textContent);
  const chart = root.querySelector(".chart");
  const [which, hue, find, names, said, found, card] = ["[data-map]", "[data-colour]", "input", "datalist", "[data-note]", ".atlas-found", ".atlas-card"]
    .map((selector) => root.querySelector(selector));
  const figure = chart.figure ??= JSON.parse(chart.querySelector("script").textContent);
  const ring = figure.data.length - 1;
  let chosen = null;

  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const shown = (at) => [
    ...(about.pictures[at] ? [make("div", { className: `picture ${about.pictures[at]}` })] : []),
    make("div", {}, make("strong", { textContent: about.titles[at] }), make("span", { textContent: about.words[at] })),
  ];
  const plot = () => { const drawn = chart.querySelector(".drawn"); return drawn?.data ? drawn : null; };
  const points = () => {
    const places = new Map();
    about.layers.forEach(([map, colour], number) => {
      if (map !== +which.value || colour !== 0) return;
      const { x, y, customdata } = figure.data[number];
      customdata.forEach((at, place) => places.set(at, [x[place], y[place]]));
    });
    return places;
  };

  const mark = (place) => {
    Object.assign(figure.data[ring], { x: place ? [place[0]] : [], y: place ? [place[1]] : [] });
    if (plot()) Plotly.restyle(plot(), { x: [figure.data[ring].x], y: [figure.data[ring].y] }, [ring]);
  };
  const tell = () => {
    found.hidden = chosen === null;
    if (chosen === null) return mark(null);
    const places = points();
    const own = places.get(chosen);
    mark(own);
    const parts = shown(chosen);
    if (own) {
      const far = ([at, [x, y]]) => [at, Math.hypot(x - own[0], y - own[1])];
      const near = [...places].filter(([at]) => at !== chosen).map(far).sort((one, other) => one[1] - other[1]).slice(0, 6);
      const links = near.map(([at]) => make("li", {}, make("button", { type: "button", textContent: about.titles[at], onclick: () => choose(at) })));
      parts.at(-1).append(make("ul", { ariaLabel: "Nearest on this map" }, make("li", { textContent: "Nearest here:" }), ...links));
    } else {
      parts.at(-1).append(make("ul", {}, make("li", { textContent: "It is not on this map: it has no such vector." })));
    }
    found.replaceChildren(...parts);
  };
  const choose = (at) => { chosen = at; if (at !== null) find.value = about.titles[at]; tell(); };

  const show = () => {
    const visible = about.layers.map(([map, colour]) => map === +which.value && colour === +hue.value);
    visible.forEach((state, number) => { figure.data[number].visible = state; });
    if (plot()) Plotly.update(plot(), { visible: [...visible, true] }, { "xaxis.autorange": true, "yaxis.autorange": true });
    said.textContent = `${about.maps[+which.value].note} Colour: ${about.colourings[+hue.value]}.`;
    tell();
  };
  const hide = () => { card.hidden = true; };
  const hover = ({ points: [point], event }) => {
    if (point.customdata === undefined) return;
    card.replaceChildren(...shown(point.customdata));
    card.hidden = false;
    const { width, height } = card.getBoundingClientRect();
    card.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    card.style.top = `${event.clientY + height + 22 > innerHeight ? event.clientY - height - 14 : event.clientY + 14}px`;
  };
  const listen = () => {
    const drawn = plot();
    if (!drawn || drawn.hasCards) return;
    drawn.hasCards = true;
    drawn.on("plotly_hover", hover);
    drawn.on("plotly_unhover", hide);
    drawn.on("plotly_click", ({ points: [point] }) => { if (point.customdata !== undefined) choose(point.customdata); });
  };

  new MutationObserver(listen).observe(chart, { attributeFilter: ["data-drawn"] });
  addEventListener("scroll", hide, { passive: true });
  which.addEventListener("change", show);
  hue.addEventListener("change", show);
  find.addEventListener("focus", () => {
    if (!names.children.length) names.append(...about.titles.map((title) => make("option", { value: title })));
  });
  find.addEventListener("input", () => {
    const at = about.titles.indexOf(find.value);
    if (at >= 0 || !find.value) choose(at >= 0 ? at : null);
  });
  find.addEventListener("change", () => {
    const wanted = find.value.trim().toLowerCase();
    const at = wanted ? about.titles.findIndex((title) => title.toLowerCase().includes(wanted)) : -1;
    if (about.titles.indexOf(find.value) < 0) choose(at >= 0 ? at : null);
  });
  show();
})();
