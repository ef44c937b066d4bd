"""Speed and memory: this package's stages against the stock implementations and the reference's literal procedures."""
