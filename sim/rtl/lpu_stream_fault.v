// Says which bits of the stream registers of one superlane at one boundary are to be flipped in a cycle: those that the C++
// side (lpu_dpi.cpp) holds for this place. Each word lies in 160 bits. The answer is there as soon as `cycle` is, and stays until
// that changes. Without LPU_SIM nothing is flipped.
module lpu_stream_fault (
    input  wire              enable,
    input  wire [31:0]       cycle,
    input  wire [15:0]       boundary,
    input  wire [15:0]       superlane,
    output reg  [32*160-1:0] east_flip,
    output reg  [32*160-1:0] west_flip
);
`ifdef LPU_SIM
    import "DPI-C" function int lpu_flip_next(input int cycle, input int boundary, input int superlane,
                                              output int stream, output int position);
    reg flipping;
    int stream, position;

    initial begin
        flipping = 0;
        east_flip = 0;
        west_flip = 0;
    end

    always @(cycle, enable) begin
        if (flipping) begin
            flipping = 0;
            east_flip = 0;
            west_flip = 0;
        end
        while (enable && lpu_flip_next(cycle, {16'b0, boundary}, {16'b0, superlane}, stream, position) != 0) begin
            flipping = 1;
            if (stream < 32) east_flip[160 * stream + position] ^= 1'b1;
            else west_flip[160 * (stream - 32) + position] ^= 1'b1;
        end
    end
`else
    always @* begin
        east_flip = 0;
        west_flip = 0;
    end
`endif
endmodule
