// Plotly takes seconds to be read. Until then the points stand where it will put them, on a canvas.
const EDGES = { l: 44, r: 8, t: 8, b: 40 };

function sketch(place, { x, y, range, anchors }, visible, colorOf, size) {
  const { clientWidth: width, clientHeight: height } = place;
  const canvas = make("canvas", { className: "sketch", width: width * devicePixelRatio, height: height * devicePixelRatio, ariaHidden: "true" });
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  const share = (value, [low, high]) => (value - low) / (high - low);
  const at = (left, up) => [EDGES.l + share(left, range[0]) * (width - EDGES.l - EDGES.r),
    height - EDGES.b - share(up, range[1]) * (height - EDGES.t - EDGES.b)];
  const dot = (left, up, color, wide) => {
    context.fillStyle = color;
    context.beginPath();
    context.arc(...at(left, up), wide / 2, 0, 2 * Math.PI);
    context.fill();
  };
  context.globalAlpha = 0.85;
  visible.forEach((i) => dot(x[i], y[i], colorOf(i), size));
  context.globalAlpha = 1;
  anchors.forEach(([left, up]) => dot(left, up, ink("--ink"), 10));
  place.replaceChildren(canvas);
}

// Resolves when Plotly is there. It is started after the browser has shown what is drawn so far.
function startPlotly() {
  const library = element("library");
  return new Promise((done) => {
    requestAnimationFrame(() => setTimeout(() => {
      library.replaceWith(make("script", { textContent: library.textContent }));
      done();
    }));
  });
}
