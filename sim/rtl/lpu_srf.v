// Registers of one stream-register file: 32 words of 137 bits, each in a lane of 160 bits (the upper 23 are 0), and
// their driven bits. The words load together when any upstream word is driven; a word that somebody drives here loads
// that instead, of several drives of one stream the last. Only the driven bits have a reset.
//
// Drive d drives the streams in select[32*d +: 32], all within one aligned group of SIZE streams; stream i gets word
// i % SIZE of words[160*SIZE*d +: 160*SIZE].
module lpu_srf #(
    parameter DRIVES = 1,
    parameter SIZE = 1
) (
    input  wire                       clk,
    input  wire                       rst,
    input  wire [31:0]                in_driven,
    input  wire [32*160-1:0]          in_data,
    input  wire [32*DRIVES-1:0]       select,
    input  wire [160*SIZE*DRIVES-1:0] words,
    output reg  [31:0]                driven,
    output reg  [32*160-1:0]          data
);
    reg [31:0] taken, mask;
    reg [4:0]  first;
    reg [7:0]  lane;  // in 32-bit words; the select below is then known to be aligned
    integer d, i;

    always @* begin
        taken = 0;
        for (d = 0; d < DRIVES; d = d + 1) taken = taken | select[32*d +: 32];
    end

    always @(posedge clk) begin
        driven <= rst ? 32'd0 : in_driven | taken;
        if (in_driven != 0) data <= in_data;
        for (d = 0; d < DRIVES; d = d + 1) begin
            mask = select[32*d +: 32];
            if (mask != 0) begin
                first = {|(mask & 32'hffff0000), |(mask & 32'hff00ff00), |(mask & 32'hf0f0f0f0), |(mask & 32'hcccccccc),
                         |(mask & 32'haaaaaaaa)} & ~(SIZE - 1);
                lane = 8'd5 * first;
                for (i = 0; i < SIZE; i = i + 1)
                    if (mask[first + i]) data[{lane + 8'(5 * i), 5'd0} +: 160] <= words[160*(SIZE*d + i) +: 160];
            end
        end
    end
endmodule
