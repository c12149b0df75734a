// Solids side by side, in axes of x to the right, y up and z toward the viewer: Plotly's x, −z and y.
function turned() {
  const { scenes, colors } = data.turned;
  const place = element("solids");
  const select = element("scenes").elements.namedItem("scene");
  const first = { azimuth: 32, elevation: 24, distance: 1.6 };
  const brightness = [0.62, 1, 0.82]; // of faces across x, y and z
  let camera = { ...first };
  let panes = [];
  let waiting = false;
  let last = null;

  function numbers(text, kind) {
    return new kind(Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer);
  }

  const unit = (value) => value / 65535 - 0.5;
  const ground = () => colors[dark.matches ? "dark" : "light"];
  const arrays = (pane) => ({
    at: numbers(pane.points, Uint16Array), of: numbers(pane.colors, Uint8Array), faces: numbers(pane.faces, Uint8Array),
  });

  function dots(pane, size) {
    const { at, of } = arrays(pane);
    const every = (axis, sign) => Array.from(of, (_, index) => sign * unit(at[3 * index + axis]));
    return { type: "scatter3d", mode: "markers", x: every(0, 1), y: every(2, -1), z: every(1, 1),
      marker: { size, color: Array.from(of, (color) => ground()[color]), line: { width: 1, color: ink("--ground") } } };
  }

  // Every pair of points is a line; a gap ends it.
  function bones(pane) {
    const lines = dots(pane);
    const apart = (values) => values.flatMap((value, index) => (index % 2 ? [value, null] : [value]));
    const color = lines.marker.color.flatMap((value, index) => (index % 2 ? [value, value] : [value]));
    return { type: "scatter3d", mode: "lines", connectgaps: false, x: apart(lines.x), y: apart(lines.y), z: apart(lines.z),
      line: { width: 7, color } };
  }

  function voxels(pane) {
    const { at, of, faces } = arrays(pane);
    const [x, y, z, i, j, k, color] = [[], [], [], [], [], [], []];
    const half = pane.side / 2;
    const shades = ground().map((text) => brightness.map((share) => {
      const parts = [1, 3, 5].map((start) => Math.round(parseInt(text.slice(start, start + 2), 16) * share));
      return `rgb(${parts.join()})`;
    }));
    for (let index = 0; index < of.length; index += 1) {
      for (let side = 0; side < 6; side += 1) {
        if (!((faces[index] >> side) & 1)) continue;
        const axis = side >> 1;
        const corner = x.length;
        for (const [one, other] of [[-1, -1], [1, -1], [1, 1], [-1, 1]]) {
          const from = [0, 1, 2].map((direction) => at[3 * index + direction]);
          from[axis] += side % 2 ? half : -half;
          from[(axis + 1) % 3] += one * half;
          from[(axis + 2) % 3] += other * half;
          x.push(unit(from[0]));
          y.push(-unit(from[2]));
          z.push(unit(from[1]));
        }
        i.push(corner, corner);
        j.push(corner + 1, corner + 2);
        k.push(corner + 2, corner + 3);
        color.push(shades[of[index]][axis], shades[of[index]][axis]);
      }
    }
    return { type: "mesh3d", x, y, z, i, j, k, facecolor: color, flatshading: true,
      lighting: { ambient: 1, diffuse: 0, specular: 0, roughness: 1, fresnel: 0 } };
  }

  function eye() {
    const [around, up] = [camera.azimuth, camera.elevation].map((angle) => (angle * Math.PI) / 180);
    const flat = camera.distance * Math.cos(up);
    return { up: { x: 0, y: 0, z: 1 }, center: { x: 0, y: 0, z: 0 },
      eye: { x: flat * Math.sin(around), y: -flat * Math.cos(around), z: camera.distance * Math.sin(up) } };
  }

  function draw() {
    const axes = { visible: false, range: [-0.55, 0.55], autorange: false };
    const made = { voxels, dots, bones };
    const shown = scenes[Number(select.value)].panes;
    // One size of dots for all that are side by side: the more, the smaller.
    const most = Math.max(...shown.map((pane) => 0.75 * pane.colors.length), 1);
    const size = Math.min(Math.max(110 / Math.sqrt(most), 1.8), 4);
    return Promise.all(shown.map((pane, index) => {
      const trace = { ...made[pane.kind](pane, size), hoverinfo: "skip" };
      return Plotly.react(panes[index], [trace], {
        ...look(), margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false,
        scene: { xaxis: axes, yaxis: axes, zaxis: axes, aspectmode: "cube", camera: eye(), dragmode: false },
      }, { ...settings, displayModeBar: false, scrollZoom: false });
    }));
  }

  function build() {
    panes.forEach((pane) => Plotly.purge(pane));
    const scene = scenes[Number(select.value)];
    panes = scene.panes.map((pane) => {
      const drawn = make("div", { className: "solid", role: "img" });
      drawn.setAttribute("aria-label", `${pane.name} of ${scene.name}: ${pane.text || pane.kind}`);
      return drawn;
    });
    place.replaceChildren(...panes.map((pane, index) => make("figure", {}, pane,
      make("figcaption", { textContent: [scene.panes[index].name, scene.panes[index].text].filter(Boolean).join(": ") }))));
    return draw();
  }

  function tell() {
    element("turn").textContent = `Seen from ${Math.round(camera.azimuth)}° around and ${Math.round(camera.elevation)}° above`;
  }

  function turn(around, up, nearer = 1) {
    const azimuth = ((((camera.azimuth + around + 180) % 360) + 360) % 360) - 180;
    const elevation = Math.min(Math.max(camera.elevation + up, -85), 85);
    camera = { azimuth, elevation, distance: Math.min(Math.max(camera.distance * nearer, 0.6), 4) };
    tell();
    if (waiting || !panes.length) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      panes.forEach((pane) => Plotly.relayout(pane, { "scene.camera": eye() }));
    });
  }

  const keys = { ArrowRight: [-10, 0], ArrowLeft: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10], "+": [0, 0, 0.9], "-": [0, 0, 1 / 0.9] };
  const reset = () => {
    camera = { ...first };
    turn(0, 0);
  };
  place.addEventListener("keydown", (event) => {
    if (event.key === "Home") reset();
    else if (event.key in keys && !event.ctrlKey && !event.metaKey) turn(...keys[event.key]);
    else return;
    event.preventDefault();
  });
  place.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    place.setPointerCapture(event.pointerId);
    last = event;
  });
  place.addEventListener("pointermove", (event) => {
    if (!place.hasPointerCapture(event.pointerId)) return;
    turn((last.clientX - event.clientX) / 2, (event.clientY - last.clientY) / 2);
    last = event;
  });
  place.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    turn(0, 0, event.deltaY > 0 ? 1.1 : 1 / 1.1);
  });
  for (const [name, act] of Object.entries({ nearer: () => turn(0, 0, 0.8), farther: () => turn(0, 0, 1.25), front: reset })) {
    element(name).addEventListener("click", act);
  }
  element("scenes").addEventListener("submit", (event) => event.preventDefault());
  tell();

  whenNear(place, () => {
    if (!webgl()) {
      place.textContent = "This needs WebGL, which the browser does not have.";
      return;
    }
    build().then(() => { place.dataset.ready = "true"; });
    select.addEventListener("change", build);
    dark.addEventListener("change", draw);
  });
}
