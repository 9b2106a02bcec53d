"""``generate.py`` where an image of the demo has it."""

import sys

from e2e.engine.deepseek_infer.generate import main

sys.exit(main(sys.argv[1:]))
