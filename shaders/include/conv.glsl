// The geometry of a convolution, as specialisation constants: divisions by them become multiplications.
// Letters: CG and OG input and output channels of one group; H, W input plane; OH, OW output plane; K kernel,
// S stride, D dilation, P padding above and left (below and right follow from OH and OW).
// The batch is no constant, so a training and an evaluation program share pipelines.

layout(constant_id = 9) const uint GROUPS = 1;
layout(constant_id = 10) const uint CG = 1;
layout(constant_id = 11) const uint OG = 1;
layout(constant_id = 12) const int H = 1;
layout(constant_id = 13) const int W = 1;
layout(constant_id = 14) const int OH = 1;
layout(constant_id = 15) const int OW = 1;
layout(constant_id = 16) const uint KH = 1;
layout(constant_id = 17) const uint KW = 1;
layout(constant_id = 18) const int SH = 1;
layout(constant_id = 19) const int SW = 1;
layout(constant_id = 20) const int DH = 1;
layout(constant_id = 21) const int DW = 1;
layout(constant_id = 22) const int PH = 0;
layout(constant_id = 23) const int PW = 0;

const uint KHW = KH * KW;
const uint HW = uint(H * W);
const uint OHW = uint(OH * OW);
