const drawn = data.points ? latent() : Promise.resolve();
drawn.then(() => setTimeout(() => {
  performance.mark("plot drawn");
  curves();
  if (data.turned.scenes.length) turned();
  document.body.dataset.ready = "true";
}));
