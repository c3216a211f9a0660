"""`python -m vae_core.cli` is `vaesynth`."""

from vae_core.cli import main

main()
