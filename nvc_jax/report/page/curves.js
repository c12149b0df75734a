function curves() {
  data.curves.forEach((panel, index) => {
    const place = element(`curve-${index}`);
    whenNear(place, () => {
      drawCurve(place, panel);
      dark.addEventListener("change", () => drawCurve(place, panel));
    });
  });
}

function drawCurve(place, panel) {
  const events = Object.entries(data.events);
  const colors = palette().anchor;
  const lines = panel.lines.map((line, number) => ({
    x: line.x, y: line.y, name: plain(line.name), mode: line.x.length > 20 ? "lines" : "lines+markers",
    line: { color: colors[number % colors.length], dash: ["solid", "dash", "dot", "dashdot"][number % 4] },
  }));
  Plotly.react(place, lines, {
    ...look(), margin: { l: 52, r: 12, t: 34, b: 34 }, title: { text: plain(panel.name), font: { size: 14 } },
    xaxis: { ...axis(), title: { text: "" }, nticks: 5 },
    yaxis: { ...axis(), exponentformat: "e", minexponent: 5, type: panel.logarithmic ? "log" : "linear" },
    shapes: events.map(([, step]) => ({
      type: "line", xref: "x", yref: "paper", x0: step, x1: step, y0: 0, y1: 1,
      line: { color: ink("--soft"), width: 1.5, dash: "dot" },
    })),
    annotations: events.map(([name, step]) => ({
      x: step, y: 1, xref: "x", yref: "paper", text: plain(name), showarrow: false, xanchor: "left",
      yanchor: "top", font: { size: 10, color: ink("--soft") },
    })),
    showlegend: lines.length > 1, legend: { orientation: "h", y: -0.18 }, dragmode: touch ? false : "zoom",
  }, { ...settings, displayModeBar: false });
}
