"use strict";
(async () => {
  const textOf = (id) => document.getElementById(id).textContent;
  const figures = JSON.parse(textOf("figures"));
  if (!figures.length) return;

  // plotly.js is in the page as gzip in Base64.
  const packed = Uint8Array.from(atob(textOf("plotly")), (char) => char.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(stream).text();
  document.head.append(library);

  // Replaces names of CSS variables, such as --blue, by their values.
  const coloured = (value, style) => {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((inner) => coloured(inner, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, coloured(inner, style)]));
  };
  const axis = (own) => ({
    gridcolor: "--line", linecolor: "--line", zerolinecolor: "--line", tickfont: { size: 11 }, automargin: true,
    fixedrange: true, ...own,
  });
  const layout = (own, element) => ({
    ...own,
    width: element.clientWidth, height: element.clientHeight,
    margin: { l: 44, r: 12, t: 8, b: 34 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "--ink-2" },
    xaxis: axis(own.xaxis), yaxis: axis(own.yaxis),
    hoverlabel: { bgcolor: "--card", bordercolor: "--line", font: { color: "--ink" } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
  });
  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    for (const figure of figures) {
      const element = document.getElementById(`chart-${figure.name}`);
      const drawn = coloured({ data: figure.data, layout: layout(figure.layout, element) }, style);
      Plotly.react(element, drawn.data, drawn.layout, { displayModeBar: false });
    }
    document.documentElement.dataset.charts = String(figures.length);
  };
  const forPrint = (on) => () => {
    document.documentElement.classList.toggle("print", on);
    if (on) document.querySelectorAll("details").forEach((details) => { details.open = true; });
    draw();
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", forPrint(true));
  addEventListener("afterprint", forPrint(false));
  let frame = 0;
  addEventListener("resize", () => { cancelAnimationFrame(frame); frame = requestAnimationFrame(draw); });
})();
