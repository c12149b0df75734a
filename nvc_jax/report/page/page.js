const drawn = data.points ? latent() : Promise.resolve();
drawn.then(() => setTimeout(() => {
  drawCurves();
  dark.addEventListener("change", drawCurves);
  if (data.turned.scenes.length) turned();
  document.body.dataset.ready = "true";
}));
