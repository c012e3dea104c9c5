# Loss over examples seen, one line for each optimizer: fashion.svg from fashion-curves.tsv.
set terminal svg size 1000,640 font "sans-serif,14" background "white"
set output dir."/fashion.svg"
set datafile separator "\t"
set title "Fashion-MNIST through paramd: every optimizer sees the same number of examples"
set xlabel "examples seen"
set ylabel "training loss"
set format x "%'.0f"
set xtics 10000
set logscale y
set yrange [0.2:2.5]
set ytics (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2.3)
set grid lc rgb "#dddddd"
set key outside right
names = "bgd sgd mbgd momentum nag adagrad adadelta rmsprop adam adamw amsgrad nadam lion ftrl"
colours = "#999999 #000000 #1f77b4 #17becf #2ca02c #bcbd22 #8c564b #ff7f0e #d62728 #e377c2 #9467bd #7f2704 #006d2c #08306b"
plot for [i=1:words(names)] dir."/fashion-curves.tsv" index i-1 using 2:3 with lines \
    lw (word(names, i) eq "adam" ? 4 : 1.8) lc rgb word(colours, i) title word(names, i)
