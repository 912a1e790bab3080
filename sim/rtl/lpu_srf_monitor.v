// Records the driven words of one superlane at one boundary. In every cycle with enable = 1 and any bit of driven set,
// the words of the driven streams go to the C++ side (lpu_dpi.cpp) in ascending order of stream id. Bit i of driven and
// port s<i> belong to stream i: 0..31 eastward, 32..63 westward; a word is 128 data bits and 9 check bits above them.
// `cycle` is the value that the registers show in that cycle. clk must not be gated. Without LPU_SIM it is empty.
//
// One port per stream, not one wide bus, and inlined: otherwise Verilator would copy all words in every cycle.
module lpu_srf_monitor (
    input wire         clk,
    input wire         enable,
    input wire [31:0]  cycle,
    input wire [15:0]  boundary,
    input wire [15:0]  superlane,
    input wire [63:0]  driven,
    input wire [136:0] s0,
    input wire [136:0] s1,
    input wire [136:0] s2,
    input wire [136:0] s3,
    input wire [136:0] s4,
    input wire [136:0] s5,
    input wire [136:0] s6,
    input wire [136:0] s7,
    input wire [136:0] s8,
    input wire [136:0] s9,
    input wire [136:0] s10,
    input wire [136:0] s11,
    input wire [136:0] s12,
    input wire [136:0] s13,
    input wire [136:0] s14,
    input wire [136:0] s15,
    input wire [136:0] s16,
    input wire [136:0] s17,
    input wire [136:0] s18,
    input wire [136:0] s19,
    input wire [136:0] s20,
    input wire [136:0] s21,
    input wire [136:0] s22,
    input wire [136:0] s23,
    input wire [136:0] s24,
    input wire [136:0] s25,
    input wire [136:0] s26,
    input wire [136:0] s27,
    input wire [136:0] s28,
    input wire [136:0] s29,
    input wire [136:0] s30,
    input wire [136:0] s31,
    input wire [136:0] s32,
    input wire [136:0] s33,
    input wire [136:0] s34,
    input wire [136:0] s35,
    input wire [136:0] s36,
    input wire [136:0] s37,
    input wire [136:0] s38,
    input wire [136:0] s39,
    input wire [136:0] s40,
    input wire [136:0] s41,
    input wire [136:0] s42,
    input wire [136:0] s43,
    input wire [136:0] s44,
    input wire [136:0] s45,
    input wire [136:0] s46,
    input wire [136:0] s47,
    input wire [136:0] s48,
    input wire [136:0] s49,
    input wire [136:0] s50,
    input wire [136:0] s51,
    input wire [136:0] s52,
    input wire [136:0] s53,
    input wire [136:0] s54,
    input wire [136:0] s55,
    input wire [136:0] s56,
    input wire [136:0] s57,
    input wire [136:0] s58,
    input wire [136:0] s59,
    input wire [136:0] s60,
    input wire [136:0] s61,
    input wire [136:0] s62,
    input wire [136:0] s63
);
    // verilator inline_module
`ifdef LPU_SIM
    import "DPI-C" function void lpu_srf_begin(input int cycle, input int boundary, input int superlane,
                                               input longint driven);
    import "DPI-C" function void lpu_srf_word(input bit [159:0] word);

    always @(posedge clk) begin
        if (enable && driven != 0) begin
            lpu_srf_begin(cycle, {16'b0, boundary}, {16'b0, superlane}, driven);
            if (driven[0]) lpu_srf_word({23'b0, s0});
            if (driven[1]) lpu_srf_word({23'b0, s1});
            if (driven[2]) lpu_srf_word({23'b0, s2});
            if (driven[3]) lpu_srf_word({23'b0, s3});
            if (driven[4]) lpu_srf_word({23'b0, s4});
            if (driven[5]) lpu_srf_word({23'b0, s5});
            if (driven[6]) lpu_srf_word({23'b0, s6});
            if (driven[7]) lpu_srf_word({23'b0, s7});
            if (driven[8]) lpu_srf_word({23'b0, s8});
            if (driven[9]) lpu_srf_word({23'b0, s9});
            if (driven[10]) lpu_srf_word({23'b0, s10});
            if (driven[11]) lpu_srf_word({23'b0, s11});
            if (driven[12]) lpu_srf_word({23'b0, s12});
            if (driven[13]) lpu_srf_word({23'b0, s13});
            if (driven[14]) lpu_srf_word({23'b0, s14});
            if (driven[15]) lpu_srf_word({23'b0, s15});
            if (driven[16]) lpu_srf_word({23'b0, s16});
            if (driven[17]) lpu_srf_word({23'b0, s17});
            if (driven[18]) lpu_srf_word({23'b0, s18});
            if (driven[19]) lpu_srf_word({23'b0, s19});
            if (driven[20]) lpu_srf_word({23'b0, s20});
            if (driven[21]) lpu_srf_word({23'b0, s21});
            if (driven[22]) lpu_srf_word({23'b0, s22});
            if (driven[23]) lpu_srf_word({23'b0, s23});
            if (driven[24]) lpu_srf_word({23'b0, s24});
            if (driven[25]) lpu_srf_word({23'b0, s25});
            if (driven[26]) lpu_srf_word({23'b0, s26});
            if (driven[27]) lpu_srf_word({23'b0, s27});
            if (driven[28]) lpu_srf_word({23'b0, s28});
            if (driven[29]) lpu_srf_word({23'b0, s29});
            if (driven[30]) lpu_srf_word({23'b0, s30});
            if (driven[31]) lpu_srf_word({23'b0, s31});
            if (driven[32]) lpu_srf_word({23'b0, s32});
            if (driven[33]) lpu_srf_word({23'b0, s33});
            if (driven[34]) lpu_srf_word({23'b0, s34});
            if (driven[35]) lpu_srf_word({23'b0, s35});
            if (driven[36]) lpu_srf_word({23'b0, s36});
            if (driven[37]) lpu_srf_word({23'b0, s37});
            if (driven[38]) lpu_srf_word({23'b0, s38});
            if (driven[39]) lpu_srf_word({23'b0, s39});
            if (driven[40]) lpu_srf_word({23'b0, s40});
            if (driven[41]) lpu_srf_word({23'b0, s41});
            if (driven[42]) lpu_srf_word({23'b0, s42});
            if (driven[43]) lpu_srf_word({23'b0, s43});
            if (driven[44]) lpu_srf_word({23'b0, s44});
            if (driven[45]) lpu_srf_word({23'b0, s45});
            if (driven[46]) lpu_srf_word({23'b0, s46});
            if (driven[47]) lpu_srf_word({23'b0, s47});
            if (driven[48]) lpu_srf_word({23'b0, s48});
            if (driven[49]) lpu_srf_word({23'b0, s49});
            if (driven[50]) lpu_srf_word({23'b0, s50});
            if (driven[51]) lpu_srf_word({23'b0, s51});
            if (driven[52]) lpu_srf_word({23'b0, s52});
            if (driven[53]) lpu_srf_word({23'b0, s53});
            if (driven[54]) lpu_srf_word({23'b0, s54});
            if (driven[55]) lpu_srf_word({23'b0, s55});
            if (driven[56]) lpu_srf_word({23'b0, s56});
            if (driven[57]) lpu_srf_word({23'b0, s57});
            if (driven[58]) lpu_srf_word({23'b0, s58});
            if (driven[59]) lpu_srf_word({23'b0, s59});
            if (driven[60]) lpu_srf_word({23'b0, s60});
            if (driven[61]) lpu_srf_word({23'b0, s61});
            if (driven[62]) lpu_srf_word({23'b0, s62});
            if (driven[63]) lpu_srf_word({23'b0, s63});
        end
    end
`endif
endmodule
