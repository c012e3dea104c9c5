# How far the weights of each frequency are from the truth: rare.svg from rare.tsv.
set terminal svg size 900,520 font "sans-serif,14" background "white"
set output dir."/rare.svg"
set datafile separator "\t"
set title "Rare features: what is left of the weights' error after the same examples"
set ylabel "mean error of weights (1 at the start)"
set logscale y
set yrange [0.005:1]
set style data histograms
set style histogram clustered gap 1.5
set style fill solid 0.85 border -1
set grid ytics lc rgb "#dddddd"
set key outside right title "feature is in"
plot for [c=2:5] dir."/rare.tsv" using c:xtic(1) title columnheader lc rgb word("#c6dbef #6baed6 #2171b5 #08306b", c-1)
