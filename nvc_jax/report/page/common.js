const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
// Plotly's button for uploads has no place on a page that stays where it is.
const settings = { responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "" };
const touch = matchMedia("(pointer: coarse)").matches;
const dark = matchMedia("(prefers-color-scheme: dark)");
const palette = () => data.palettes[dark.matches ? "dark" : "light"];
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const look = () => ({
  font: { family: "system-ui, sans-serif", size: 12, color: ink("--ink") },
  paper_bgcolor: ink("--ground"), plot_bgcolor: ink("--ground"),
  modebar: { color: ink("--soft"), activecolor: ink("--ink"), bgcolor: "transparent" },
});
const axis = () => ({ gridcolor: ink("--line"), zerolinecolor: ink("--line"), linecolor: ink("--line") });
// Plotly reads tags in texts: a name is no tag.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;");

function make(kind, properties, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

function webgl() {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl"));
  } catch {
    return false;
  }
}

// Acts once, when a place is nearly in sight or printed: what stands first is seen sooner.
function whenNear(place, act) {
  const once = () => {
    watcher.disconnect();
    removeEventListener("beforeprint", once);
    act();
  };
  const watcher = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) once();
  }, { rootMargin: "300px" });
  watcher.observe(place);
  addEventListener("beforeprint", once);
}
