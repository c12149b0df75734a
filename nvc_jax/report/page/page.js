const draw = data.points ? latent() : () => {};
performance.mark("sketch drawn");
startPlotly().then(draw).then(() => setTimeout(() => {
  performance.mark("plot drawn");
  curves();
  if (data.turned.scenes.length) turned();
  document.body.dataset.ready = "true";
}));
