"""Before torch is imported: its OpenMP threads wait without spinning."""

import vae_core  # noqa: F401
