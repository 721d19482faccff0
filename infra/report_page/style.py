"""How the page looks: light and dark, on a phone, on a screen, on paper. Colours are those of the monitors' pages."""

from typing import Final

from functions.monitoring.report import STYLE as MONITORS

STYLE: Final = (
    MONITORS
    + """
:root{--panel:#f5f6f8;--edge:#c3c8ce;--act:#a84a05;--watch:#737b84;--floor:#0f4f9a;--expected:#4a90dd;--ceiling:#b9d3f0}
@media (prefers-color-scheme:dark){:root{--panel:#1e2226;--edge:#4a5057;--act:#f0a060;--watch:#8e969e;--floor:#8cc0fb;
--expected:#4a86c8;--ceiling:#2c4a6b}}
*{box-sizing:border-box}
html{scroll-padding-top:3.2rem;-webkit-text-size-adjust:100%}
body{max-width:71rem;margin:0 auto;padding:0 1rem 3rem;overflow-wrap:break-word}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem;top:.5rem;background:var(--paper);padding:.4rem .8rem;z-index:2}
:focus-visible{outline:3px solid var(--now);outline-offset:2px;border-radius:.2rem}
a{color:var(--now)}
header{padding-top:1.6rem}
.eyebrow{color:var(--dim);margin:0;font-size:.9rem}
h1{font-size:1.7rem;line-height:1.2;color:var(--ink);margin:.1rem 0 .4rem}
h2{font-size:1.3rem;margin:2.6rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--rule)}
h3{font-size:1.02rem;margin:1.5rem 0 .4rem}
h4{font-size:.95rem;margin:1rem 0 .3rem}
.verdict{font-size:1.15rem}
p{margin:.5rem 0;max-width:52rem}
.wrong{border-left:.3rem solid var(--violated);padding-left:.7rem}
dl{margin:.5rem 0}
dl div{min-width:0}
dt{flex:none}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
nav{position:sticky;top:0;background:var(--paper);border-bottom:1px solid var(--rule);margin:1rem -1rem 0;
padding:.45rem 1rem;overflow-x:auto;white-space:nowrap;z-index:1}
nav a{margin-right:1.1rem;text-decoration:none;font-size:.92rem}
nav a:hover{text-decoration:underline}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.4rem,1fr));gap:.6rem;margin:1rem 0;padding:0;
list-style:none}
.tiles a{display:block;height:100%;color:inherit;text-decoration:none;background:var(--panel);border-radius:.4rem;
padding:.55rem .7rem;border-top:.25rem solid var(--edge)}
.tiles a:hover b{text-decoration:underline}
.tiles .stable{border-color:var(--stable)}
.tiles .violated{border-color:var(--violated)}
.tiles .insufficient{border-color:var(--insufficient)}
.tiles span{display:block;font-size:.83rem;color:var(--dim)}
.tiles b{display:block;font-size:1.05rem;line-height:1.25}
.badge{display:inline-block;font-size:.8rem;font-weight:600;line-height:1.5;padding:0 .5em;border-radius:1em;
border:1px solid currentColor;color:var(--dim);white-space:nowrap}
.badge.stable{color:var(--stable)}
.badge.violated{color:var(--violated)}
.badge.insufficient{color:var(--insufficient)}
details{margin:.6rem 0;border:1px solid var(--rule);border-radius:.4rem;padding:0 .8rem}
summary{cursor:pointer;padding:.45rem 0;font-weight:600;font-size:.93rem}
details[open]{padding-bottom:.6rem}
details:target{border-color:var(--now)}
article{background:var(--panel);border-radius:.4rem;padding:.1rem .9rem .5rem;margin:.8rem 0}
article h3{margin:.6rem 0 .3rem}
.note{font-size:.92rem}
.note table{display:block;overflow-x:auto}
table.rows{width:100%;margin:.5rem 0}
caption{text-align:left;color:var(--dim);font-size:.85rem;padding-bottom:.2rem}
th{font-weight:600;color:var(--dim);font-size:.85rem;vertical-align:bottom}
td{vertical-align:top}
td.n{white-space:nowrap}
.plots{grid-template-columns:repeat(auto-fill,minmax(19.5rem,1fr))}
.plots>*{min-width:0}
figure{background:var(--paper)}
figcaption{font-size:.85rem;line-height:1.35}
section:first-child h2{border:0;margin-top:1rem}
.windows{margin:.3rem 0 .5rem}
.windows svg.stretched{width:100%;height:17px}
.picture{display:block;width:auto;max-width:100%;height:auto}
.picture text{font:11.5px system-ui,sans-serif;fill:var(--dim)}
.picture text.name{font:600 13px system-ui,sans-serif;fill:var(--ink)}
.picture text.lane{font:600 12px system-ui,sans-serif;paint-order:stroke;stroke:var(--paper);stroke-width:5px;
stroke-linejoin:round}
.picture text.frame{font-size:12px}
.picture rect{fill:var(--panel);stroke:var(--edge)}
.picture rect.frame{fill:none;stroke:var(--watch);stroke-dasharray:2 3}
.picture .outside rect{fill:var(--paper);stroke-dasharray:4 3}
.picture a:hover rect,.picture a:focus rect{stroke:var(--now);stroke-width:2}
.arrow path{fill:none;stroke:var(--now);stroke-width:1.6}
.arrow .tip{fill:var(--now);stroke:none}
.arrow.watch path{stroke:var(--watch);stroke-dasharray:4 3;stroke-width:1.3}
.arrow.watch .tip{fill:var(--watch);stroke:none}
.arrow.act path{stroke:var(--act);stroke-width:1.4}
.arrow.act .tip{fill:var(--act);stroke:none}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.4rem;list-style:none;padding:0;margin:.4rem 0;font-size:.88rem;
color:var(--dim)}
.legend svg{display:inline;width:34px;height:10px}
.on-phone,.on-paper{display:none}
.chart text{font:10.5px system-ui,sans-serif;fill:var(--dim)}
.chart .line{fill:none;stroke:var(--now);stroke-width:1.5}
.chart .dot{fill:var(--now)}
.chart .bad,.chart .violated{fill:var(--violated)}
.chart .stable{fill:var(--stable)}
.chart .insufficient{fill:var(--before)}
.chart .limit{stroke:var(--violated);stroke-dasharray:5 3}
.chart .usual{stroke:var(--watch);stroke-dasharray:1.5 3}
.chart .release{stroke:var(--act);stroke-width:1}
.chart .rule{stroke:var(--rule)}
.chart .live{fill:var(--stable)}
.chart .past0{fill:var(--before)}
.chart .past1{fill:var(--edge)}
.chart .cross{fill:none;stroke:var(--violated);stroke-width:2}
.chart text.on{fill:#14171a;font-weight:600;font-size:12px}
.chart text.on-live{fill:var(--paper);font-weight:600;font-size:12px}
.bar{position:relative;display:block;height:.8rem;min-width:7rem;background:none}
.bar i{position:absolute;left:0;top:0;bottom:0;border-radius:.15rem}
.bar.whole{height:1.3rem;margin:.5rem 0}
.floor{background:var(--floor)}
.expected{background:var(--expected)}
.ceiling{background:var(--ceiling)}
.bar i.budget{right:auto;width:2px;background:var(--violated);top:-3px;bottom:-3px}
.key i{display:inline-block;width:.8em;height:.8em;border-radius:.15rem;vertical-align:-.05em;margin-left:.6em}
.key i:first-child{margin-left:0}
.key i.budget{width:2px;background:var(--violated)}
td:last-child .bar{width:100%}
footer{margin-top:3rem;color:var(--dim);font-size:.85rem}
@media (max-width:1130px){.on-screen{display:none}.on-paper{display:block}}
@media (max-width:740px){.on-paper{display:none}.on-phone{display:block}
h1{font-size:1.4rem}
.plots{grid-template-columns:1fr}
table.rows thead{position:absolute;left:-99rem}
table.rows tr{display:block;border-bottom:1px solid var(--rule);padding:.35rem 0}
table.rows td{display:flex;gap:.6rem;border:0;padding:.08rem 0;text-align:left;white-space:normal;min-width:0}
table.rows td::before{content:attr(data-head);color:var(--dim);flex:0 0 6.5rem;font-size:.85rem}
table.rows td[data-head=""],table.rows td:first-child{font-weight:600}
table.rows td[data-head=""]::before,table.rows td[data-head=" "]::before{content:none}
table.rows td:empty{display:none}
table.money tr{display:grid;grid-template-columns:1fr 1fr 1fr;gap:0 .5rem}
table.money td{display:block}
table.money td::before{display:block}
table.money td:first-child,table.money td[data-head=" "]{grid-column:1/-1}
table.money td:first-child::before{content:none}
.tiles{grid-template-columns:1fr 1fr}
.tiles li:last-child:nth-child(odd){grid-column:1/-1}}
@media print{:root{color-scheme:light;--ink:#000;--dim:#444;--rule:#bbb;--paper:#fff;--panel:#f4f4f4;--edge:#999;
--before:#999;--now:#0b4fa0;--stable:#14662c;--violated:#a81f16;--insufficient:#5f4e00;--act:#8a3c00;--watch:#666;
--floor:#0b4fa0;--expected:#5c93d2;--ceiling:#bcd2ea}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{max-width:none;font-size:10.5pt;padding:0}
nav,.skip{display:none}
.on-screen,.on-phone{display:none}
.on-paper{display:block}
h2,h3,h2+p,summary{break-after:avoid}
figure,tr,.tiles li,.picture{break-inside:avoid}
.picture{max-height:235mm}
article{border:1px solid var(--rule)}
a{color:inherit;text-decoration:none}
.plots{grid-template-columns:1fr 1fr}
.tiles{grid-template-columns:repeat(4,1fr)}
details:not([open])>summary::after{content:" (unfolded on the screen)";font-weight:400;color:var(--dim)}}
@page{margin:14mm}
"""
)
