"""A signed report as pages that people read: HTML, Markdown, cards.

    source       a signed report, or a page that holds one -> what it says
    embedding    where a page keeps the signed report, and how it is found again
    parts        what a page is made of: texts, tables, badges, figures, sections
    decision     the first page: what an officer signs or refuses
    spending     what each phase costs, and the three figures
    evidence     what the claim rests on; who looked at it
    annexes      audits, utility, threats, the glossary
    html         all of it as one file that asks nobody for anything
    markdown     the same as text; the model card and the data set card
    release      the build in which no local number can occur
    comparing    whether a page shows what its signed report gives

Everything a page shows is a function of the signed bytes inside it. So a page can be
checked by making it again: `comparing` finds a number that was edited by hand.

Nothing here proves anything. A page is a picture of a signed statement; `verify`
recomputes the statement.
"""
