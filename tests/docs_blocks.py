"""What the pages of the documentation promise, and the harness that holds them to it.

**A page** is a Markdown file below `docs/`. One with a block of code begins with front matter that says where its
commands run::

    ---
    run: rehearsal
    order: 30
    ---

`rehearsal`
    for real, in the one rehearsal that all such pages share, in the order of `order` (then of their paths). The first
    page is the tutorial; it deploys, so that every later page finds `slipway up local` done.
`offline`
    for real, with nothing deployed and without credentials: `slipway check`, `slipway plan platform-prod`.
`cloud`
    not run, for it takes AWS. Each command must exist, with the arguments and options that are given to it: those of
    `slipway` in its command line, of `aws` in AWS's own service models, of `make` in the Makefile, of others in
    `tests/docs_commands.py`.

A page without blocks needs no front matter. `order` also orders the pages of a folder in the navigation.
Files that a page changes are as they were when the next page begins; what it deployed, stays. Whatever spoils the
rehearsal for others comes late (`order: 900`), and a page that deploys a change takes it back at its end.

**Where commands run**: bash, one for a page, so that variables and `cd` last to its end. The folder is a copy of the
repository, with a commit of its own; `slipway`, `python` and all of `.venv/bin` are on PATH.

**Blocks** begin with three backticks and a language, at the beginning of a line or within a list; not within an
admonition or a tab. There are::

    ```console
    $ slipway status            # a command; it has to end with 0
    Rehearsal                   a line that it has to print
    …                           what is left out
      platform-local  … resources
    $ slipway incident list \\
    >   employment-local        # goes on after a backslash, or within a here-document
    ```

A line below a command has to be printed by it, on either stream, each after the one before; others may stand between
them. `…` stands for any text within a line; runs of blanks count as one. Without such lines only the exit code counts.

`yaml`
    a part of a stack's YAML, which has to be valid: a whole file (`config:`), keys with a colon (`slipway:usage`), or
    keys of `slipway:settings`. These are laid over a stack that has them: the one whose file `title="…"` names, else
    any. Other YAML names its file in the title, and is held against what reads that file.
`diff`
    with `title="path"`: the change of a file, made in the copy. Lines with `-` and a blank are looked for, `+` and a
    blank take their place; they must be found once. No line numbers.
`python`
    is run in the copy's root, each block by itself. With `title="path"` of a file that exists it must be a part of it.
`json`, `toml`
    has to be that. With a title as above.
`mermaid`, `text`
    is only shown.

With `title="path"` and `<!-- test: write -->` above it, a block of any kind becomes that file of the copy, whole.

**A comment** right above a block changes what is done with it::

    <!-- test: exit=1 -->            its last command ends with this code, the others with 0
    <!-- test: skip="why" -->        is not run but looked at as in a `cloud` page; the reason is for the reader of tests
    <!-- test: write -->             as above
    <!-- test: seconds=400 -->       how long each of its commands may take (300)

`.venv/bin/python -m tests.docs_blocks docs/guides/release.md …` plays pages by themselves; `--up` deploys first where
they need the rehearsal, `--keep FOLDER` keeps the copy and the rehearsal for the next time.
"""
