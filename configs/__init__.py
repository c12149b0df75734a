"""The recipes, by bare name: what each sets other than the defaults."""
