// Records the driven words of one superlane at one boundary. In every cycle with enable = 1 and any stream driven, the
// words of the driven streams go to the C++ side (lpu_dpi.cpp) in ascending order of stream id: 0..31 eastward, then
// 32..63 westward. Each word lies in 160 bits. `cycle` is the number of the cycle in which the
// registers show these words. A gate of clk must be open in such a cycle. Without LPU_SIM the module is empty.
module lpu_srf_monitor (
    input wire              clk,
    input wire              enable,
    input wire [31:0]       cycle,
    input wire [15:0]       boundary,
    input wire [15:0]       superlane,
    input wire [31:0]       e_driven,
    input wire [32*160-1:0] e_data,
    input wire [31:0]       w_driven,
    input wire [32*160-1:0] w_data
);
    // verilator inline_module
`ifdef LPU_SIM
    import "DPI-C" function void lpu_srf_begin(input int cycle, input int boundary, input int superlane,
                                               input longint driven);
    import "DPI-C" function void lpu_srf_word(input bit [159:0] word);

    always @(posedge clk) begin
        if (enable && (e_driven | w_driven) != 0) begin
            lpu_srf_begin(cycle, {16'b0, boundary}, {16'b0, superlane}, {w_driven, e_driven});
            for (int i = 0; i < 32; i++) if (e_driven[i]) lpu_srf_word(e_data[160*i +: 160]);
            for (int i = 0; i < 32; i++) if (w_driven[i]) lpu_srf_word(w_data[160*i +: 160]);
        end
    end
`endif
endmodule
