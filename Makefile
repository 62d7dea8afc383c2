# Every target sets up what it needs; a second run does no work twice. `make PYTHON=python3.12 book` picks the Python.
# Without make (Windows): the README lists the same steps as python commands.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: book pdf lab check test mutants fuzz serve refresh bench clean env-book env-all

book: env-book            ## build the site and say where it is
	@$(BIN)/python tools/book.py

serve: book               ## show the site on this machine only
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

pdf: env-all              ## the whole book as one PDF, beside the site and linked on its first page; a few minutes
	@$(BIN)/python tools/book.py
	@$(BIN)/python tools/pdf.py

lab: env-book             ## open the notebooks in JupyterLab
	@$(BIN)/python tools/lab.py

refresh: env-book         ## run the chapters that changed and store their outputs
	$(BIN)/python tools/nb.py refresh

check: env-all            ## lint, types, fast tests, in as many processes as there are cores: three minutes on two
	$(BIN)/python tools/test.py check

test: env-all             ## everything: every test, every notebook, the site in a real browser
	$(BIN)/python tools/test.py all

mutants: env-all          ## would the tests notice 100 one-line mistakes? an hour or two; goes on where it was stopped
	$(BIN)/python tools/mutants.py

fuzz: env-all            ## 3,000 seeded bad arguments: nothing silently wrong, no raw traceback; some ten minutes
	$(BIN)/python tools/fuzz

bench: env-all            ## time the adapters beside LoRA and C3A, the products beside scipy and linear_operator
	$(BIN)/python benchmarks/adapter_overhead.py
	$(BIN)/python benchmarks/products.py
	$(BIN)/python benchmarks/method_steps.py

clean:                    ## drop what was built; .venv stays
	rm -rf _build build dist *.egg-info .mutants .pytest_cache .ruff_cache .mypy_cache .hypothesis

env-book:
	@$(PYTHON) tools/setup_env.py book

env-all:
	@$(PYTHON) tools/setup_env.py all
