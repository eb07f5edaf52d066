"use strict";
(() => {
  const THEMES = JSON.parse(document.getElementById("themes").textContent);
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const phone = matchMedia("(max-width: 40rem)");
  let printing = false;
  const theme = () => printing ? "light" : root.dataset.theme || (system.matches ? "dark" : "light");
  const store = (value) => { try { localStorage.setItem("graphrec-theme", value); } catch { /* a page from disk may not */ } };

  const colour = (text, colours) => {
    const [token, alpha] = text.split("/");
    const hex = colours[token];
    if (!hex) return text;
    if (!alpha) return hex;
    const parts = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${parts.join(",")},${alpha})`;
  };
  const resolved = (value, colours) => {
    if (typeof value === "string") return value.startsWith("@") ? colour(value, colours) : value;
    if (Array.isArray(value)) return value.map((entry) => resolved(entry, colours));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, resolved(entry, colours)]));
    }
    return value;
  };
  const over = (base, top) => {
    const merged = { ...base };
    for (const [key, value] of Object.entries(top || {})) {
      const both = [value, merged[key]].every((one) => one && typeof one === "object" && !Array.isArray(one));
      merged[key] = both ? over(merged[key], value) : value;
    }
    return merged;
  };

  const layoutOf = (own, colours, element) => {
    const narrow = element.clientWidth < 560;
    const axis = {
      gridcolor: colours["@grid"], linecolor: colours["@muted"], zerolinecolor: colours["@grid"], showline: true,
      ticks: "outside", ticklen: 4, tickcolor: colours["@muted"], automargin: true, zeroline: false,
      title: { standoff: 10, font: { size: 13, color: colours["@muted"] } },
    };
    const base = {
      autosize: true,
      font: { family: getComputedStyle(root).getPropertyValue("--sans"), size: 12.5, color: colours["@ink"] },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 50, r: 10, t: 12, b: 44 },
      hoverlabel: { bgcolor: colours["@paper"], bordercolor: colours["@muted"], font: { color: colours["@ink"] }, namelength: -1 },
      legend: narrow || own.legend?.orientation === "h"
        ? { orientation: "h", x: 0, y: -0.2, yanchor: "top", font: { size: 12 } }
        : { orientation: "v", x: 1.02, y: 1, font: { size: 12 }, tracegroupgap: 2 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colours["@muted"], activecolor: colours["@ink"] },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      hovermode: "closest",
    };
    const layout = over(base, resolved(own, colours));
    layout.legend = { ...layout.legend, ...(narrow ? base.legend : {}) };
    for (const key of new Set(["xaxis", "yaxis", ...Object.keys(own).filter((name) => /^[xy]axis\d*$/.test(name))])) {
      layout[key] = over(axis, layout[key]);
    }
    return layout;
  };

  const draw = (element) => {
    element.figure ??= JSON.parse(element.querySelector("script").textContent);
    const colours = THEMES[theme()];
    const place = element.querySelector(".drawn") || element.appendChild(Object.assign(document.createElement("div"), { className: "drawn" }));
    place.style.height = "100%";
    const layout = layoutOf(element.figure.layout, colours, element);
    Plotly.react(place, resolved(element.figure.data, colours), layout, {
      responsive: true, displaylogo: false, displayModeBar: phone.matches ? false : "hover",
      showSendToCloud: false, plotlyServerURL: "",  // nothing leaves the page
      modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
    });
    element.dataset.drawn = theme();
  };
  const unpacked = async () => {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    document.head.append(Object.assign(document.createElement("script"), { textContent: await new Response(stream).text() }));
  };
  const charts = [...document.querySelectorAll(".chart")];
  const inView = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting && entry.target.dataset.drawn !== theme()) draw(entry.target);
  }, { rootMargin: "400px" });
  unpacked().then(() => {
    charts.forEach((element) => inView.observe(element));
    addEventListener("beforeprint", () => { printing = true; charts.forEach(draw); });
    addEventListener("afterprint", () => { printing = false; charts.forEach(draw); });
  });

  const button = document.getElementById("theme");
  const name = () => {
    const next = theme() === "dark" ? "light" : "dark";
    button.textContent = next === "dark" ? "Dark" : "Light";
    button.setAttribute("aria-label", `Switch to the ${next} theme`);
  };
  const themed = () => {
    name();
    charts.filter((element) => element.dataset.drawn).forEach(draw);
    document.dispatchEvent(new CustomEvent("themed", { detail: theme() }));
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    store(root.dataset.theme);
    themed();
  });
  system.addEventListener("change", () => { if (!root.dataset.theme) themed(); });
  name();

  document.addEventListener("click", (event) => {
    const series = event.target.closest("[data-series]");
    if (!series) return;
    const shown = series.getAttribute("aria-pressed") !== "true";
    series.setAttribute("aria-pressed", shown);
    for (const element of series.closest("section").querySelectorAll(".chart")) {
      element.figure ??= JSON.parse(element.querySelector("script").textContent);
      for (const trace of element.figure.data) {
        if ((trace.legendgroup ?? trace.name) === series.dataset.series) trace.visible = shown;
      }
      if (element.dataset.drawn) draw(element);
    }
  });

  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (!copy) return;
    const text = copy.parentElement.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a page from disk may have no clipboard
      const area = Object.assign(document.createElement("textarea"), { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });

  const menu = [...document.querySelectorAll("nav details")];
  if (innerWidth < 992) menu.forEach((part) => { part.open = false; });
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const spy = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      const link = links.get(entry.target.id);
      if (!link) continue;  // the head of the page
      link.setAttribute("aria-current", "true");
      if (innerWidth >= 992) menu.forEach((part) => { part.open = part.contains(link); });
    }
  }, { rootMargin: "-10% 0px -75% 0px" });
  spy.observe(document.querySelector("header.top"));
  links.forEach((link, id) => { const part = document.getElementById(id); if (part && id.includes("-")) spy.observe(part); });
  menu.forEach((part) => part.addEventListener("click", (event) => {
    if (event.target.closest("a") && innerWidth < 992) part.open = false;
  }));
})();
