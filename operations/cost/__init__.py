"""`make cost`: what a load costs on AWS, by the items of the bill.

    load.py      the load, and what of it can be chosen
    prices.py    prices.toml: dated prices, each with its source
    stack.py     what the template and the functions' code say: memory, alarms, metrics
    usage.py     what the load uses: units of the table, log bytes, milliseconds
    bill.py      usage times prices
    others.py    the same load elsewhere
    levers.py    what changes the bill, and by how much
    picture.py   docs/cost.svg
    document.py  the tables of docs/cost.md, written by `make cost-tables`

Arrows run downwards to up. Nothing here talks to AWS.
"""
