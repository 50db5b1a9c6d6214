"""The page's style sheet, and colours that stay apart for most kinds of colour vision."""

__all__ = ["STYLE", "colour_of", "ink_on"]

# Okabe and Ito's set, then the darker ones of Tol's muted set.
_FEW = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#332288", "#44aa99", "#882255",
    "#ddcc77", "#117733",
)  # fmt: skip
# Viridis, for more classes than names for colours: lightness alone tells them apart.
_MANY = ("#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725")


def colour_of(place: int, count: int) -> str:
    """The colour of one of ``count`` classes. Beyond twelve, neighbours in number are far apart in lightness."""
    if count <= len(_FEW):
        return _FEW[place % len(_FEW)]
    spot = (place * 0.6180339887498949) % 1 * (len(_MANY) - 1)
    low = int(spot)
    mixed = [round(a + (b - a) * (spot - low)) for a, b in zip(_rgb(_MANY[low]), _rgb(_MANY[low + 1]), strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better there."""
    red, green, blue = ((c / 255) ** 2.2 for c in _rgb(colour))
    return "#000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else "#fff"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


_LIGHT = """\
--page:#f7f6f2;--card:#fff;--ink:#1c2127;--muted:#586069;--rule:#dcdad3;--soft:#efeee8;--blank:#e4e2da;--accent:#0b5cad;
--found:#0a6b3d;--found-soft:#e2f3e9;--none:#4b4f86;--none-soft:#e9e9f6;--unsure:#8a4b00;--unsure-soft:#fbeed9;
--c0:#0b5cad;--c1:#b4570a;--c2:#0a7a58;--c3:#a33c78;--c4:#5b4bb5;--c5:#6b6300;"""
_DARK = """\
--page:#131519;--card:#1b1e24;--ink:#eceae4;--muted:#a6adb7;--rule:#343941;--soft:#242830;--blank:#343941;
--accent:#7db8f5;--found:#6fd6a0;--found-soft:#16301f;--none:#b3b5f2;--none-soft:#25264a;--unsure:#f0b45f;
--unsure-soft:#38290f;--c0:#7db8f5;--c1:#f2a65e;--c2:#5fd0a8;--c3:#ef9fcb;--c4:#b5a8f5;--c5:#d6cf6a;"""

STYLE = (
    f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
"""
    + """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;overflow-wrap:break-word}
main{max-width:64rem;margin:0 auto;padding:2.5rem 1.5rem 4rem}
.over{margin:0 0 1rem;color:var(--muted);font-size:.875rem;overflow-wrap:anywhere}
.verdict{background:var(--card);border:1px solid var(--rule);border-top:5px solid var(--tone);border-radius:12px;
padding:1.75rem 2rem;display:grid;grid-template-columns:minmax(0,1fr) auto;gap:1rem 2.5rem;align-items:center}
.verdict.found{--tone:var(--found);--tone-soft:var(--found-soft)}
.verdict.none{--tone:var(--none);--tone-soft:var(--none-soft)}
.verdict.unsure{--tone:var(--unsure);--tone-soft:var(--unsure-soft)}
.badge{display:inline-block;margin:0;padding:.2rem .8rem .2rem .65rem;border-radius:99px;background:var(--tone-soft);
color:var(--tone);font-weight:650;font-size:.95rem}
.badge span{display:inline-block;min-width:1.1em;font-weight:800}
h1{font-size:clamp(2.4rem,8vw,4rem);line-height:1.08;letter-spacing:-.02em;margin:.7rem 0 .7rem;font-weight:700;
overflow-wrap:anywhere}
.says{font-size:1.125rem;margin:0;max-width:46rem;overflow-wrap:anywhere}
h2{font-size:1.5rem;line-height:1.25;letter-spacing:-.01em;margin:3.25rem 0 .5rem}
h3{font-size:1rem;margin:1.75rem 0 .5rem}
p{margin:.5rem 0;max-width:46rem}
.quiet{color:var(--muted);font-size:.9375rem}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,13rem),1fr));gap:1px;margin:1.25rem 0;
background:var(--card);border:1px solid var(--rule);border-radius:12px;overflow:hidden}
.facts div{outline:1px solid var(--rule);padding:.75rem 1rem}
.facts dt{color:var(--muted);font-size:.8125rem}
.facts dd{margin:.1rem 0 0;font-size:1.125rem;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.facts dd small{display:block;font-size:.8125rem;font-weight:400;color:var(--muted)}
.note{background:var(--card);border:1px solid var(--rule);border-left:4px solid var(--mark,var(--muted));
border-radius:8px;padding:.75rem 1.1rem;margin:1rem 0;max-width:none}
.note.unsure{--mark:var(--unsure)}
.note p,.note ul{margin:.2rem 0}.note ul{padding-left:1.2rem}
.note b{display:block}
.claims{padding-left:1.2rem;max-width:46rem}.claims li{margin:.3rem 0}
figure{margin:1rem 0;padding:1.1rem 1.25rem;background:var(--card);border:1px solid var(--rule);border-radius:12px;
min-width:0}
figure{display:flex;flex-wrap:wrap;gap:.75rem 2rem;align-items:center}
figure>.scroll{flex:0 1 auto;min-width:0}
figure>.panels,figure>.wide,figure>.scroll:only-child{flex:1 1 100%}
figcaption{flex:1 1 15rem;color:var(--muted);font-size:.875rem;max-width:46rem}
.panels{display:flex;flex-wrap:wrap;gap:1.25rem 2rem;align-items:flex-start}
.panels>div{min-width:0;max-width:100%}
.panels h3{margin:.1rem 0 .4rem}
.scroll{overflow-x:auto;max-width:100%}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
svg{display:block;max-width:100%;height:auto}
.scroll svg{max-width:none}
svg text{font-family:inherit;fill:var(--ink)}
svg .muted{fill:var(--muted)}
svg .rule{stroke:var(--rule);stroke-width:1}
svg .edge{stroke:var(--ink);stroke-width:1.25;fill:none}
svg .limit{stroke:var(--unsure);stroke-width:1.5;stroke-dasharray:5 3}
svg .limit-text{fill:var(--unsure);font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:4px}
svg .band{fill:var(--soft)}
svg .blank{fill:var(--blank)}
svg .single{fill:var(--card);stroke:var(--rule);stroke-width:1}
svg .full{fill:var(--accent);stroke:var(--accent);stroke-width:1.5}
svg .hollow{fill:var(--card);stroke:var(--muted);stroke-width:1.5}
svg .outside{fill:var(--card);stroke:var(--muted);stroke-width:1.25;stroke-dasharray:2 2}
svg .node{fill:var(--card);stroke:var(--ink);stroke-width:1.25}
svg .bar{fill:var(--c0)}svg .bar.own{fill:var(--c1)}
svg .way{fill:none;stroke-width:1.75;stroke-linejoin:round}
svg .head{stroke:none}
"""
    + "".join(f"svg .way.k{i}{{stroke:var(--c{i})}}svg .head.k{i}{{fill:var(--c{i})}}" for i in range(6))
    + """
table{border-collapse:collapse;width:100%;font-size:.9375rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--muted);font-size:.875rem;padding-bottom:.5rem}
th,td{text-align:left;vertical-align:top;padding:.55rem .8rem .55rem 0;border-bottom:1px solid var(--rule)}
th{font-size:.8125rem;color:var(--muted);font-weight:600;vertical-align:bottom}
td.n,th.n{text-align:right;white-space:nowrap}
tr.chosen td{font-weight:600}tr.chosen td.why{font-weight:400}
tr:last-child td{border-bottom:0}
.why{min-width:15rem}
.mark{white-space:nowrap;font-weight:600}
.mark.yes{color:var(--found)}.mark.no{color:var(--none)}.mark.open{color:var(--unsure)}
pre{background:var(--soft);border:1px solid var(--rule);border-radius:8px;padding:.85rem 1rem;overflow-x:auto;
font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;user-select:all;margin:.75rem 0}
.glossary dt{font-weight:650;margin-top:.7rem}.glossary dd{margin:0;max-width:46rem}
footer{margin-top:3rem;padding-top:1rem;border-top:1px solid var(--rule);color:var(--muted);font-size:.875rem}
@media (max-width:40rem){
main{padding:1.25rem .9rem 3rem}
.verdict{padding:1.25rem 1.1rem;grid-template-columns:minmax(0,1fr)}
.emblem{display:none}
.facts{grid-template-columns:repeat(2,minmax(0,1fr))}
figure{padding:.9rem .9rem}
h2{font-size:1.3rem;margin-top:2.5rem}
.wide thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
.wide table,.wide caption,.wide tbody,.wide tr{display:block}
.wide tr{padding:.5rem 0;border-bottom:1px solid var(--rule)}.wide tr:last-child{border-bottom:0}
.wide td,.wide td.n{display:flex;gap:1rem;justify-content:space-between;padding:.2rem 0;border:0;text-align:right}
.wide td:empty{display:none}
.wide td::before{content:attr(data-term);color:var(--muted);font-weight:400;text-align:left;flex:none}
}
@media print{
:root{color-scheme:light;"""
    + _LIGHT
    + """--page:#fff}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{font-size:10.5pt}
main{max-width:none;padding:0}
.verdict,figure,.note,.facts,tr,.glossary div{break-inside:avoid}
h2,h3{break-after:avoid}
.scroll{overflow:visible}
.scroll svg{max-width:100%}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
}
"""
)
