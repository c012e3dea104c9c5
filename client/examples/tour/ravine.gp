# The way each optimizer takes through the ravine: ravine.svg from ravine-paths.tsv.
set terminal svg size 1100,640 font "sans-serif,13" background "white"
set output dir."/ravine.svg"
f(x, y) = (x * x + 100 * y * y) / 2
set table $levels
set contour base
set cntrparam levels discrete 0.5, 5, 20, 50, 90
unset surface
set isosamples 100
splot [-11:3] [-1.5:1.5] f(x, y)
unset table
unset contour
array titles[6] = ["sgd", "averaged: the first moment alone", "momentum: ten times sgd's way", \
    "nag: momentum that looks ahead", "rmsprop: the second moment alone", "adam: both moments"]
set xrange [-11:3]
set yrange [-1.5:1.5]
set xtics 2
unset key
set multiplot layout 2,3 title "A ravine, 100 times as steep across as along: 100 steps from the left"
do for [i=1:6] {
    set title titles[i]
    plot $levels using 1:2 with lines lc rgb "#cccccc", \
        dir."/ravine-paths.tsv" index i-1 using 3:4 with linespoints lc rgb "#d62728" pt 7 ps 0.25
}
unset multiplot
