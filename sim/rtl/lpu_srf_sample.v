// One word out of the two stream-register files of a superlane, by its 6-bit stream id (32 and up are the westward
// ones), and whether it is driven. Lanes of 160 bits as in lpu_srf. Combinational; all 0 without enable.
module lpu_srf_sample (
    input  wire              enable,
    input  wire [5:0]        stream,
    input  wire [31:0]       e_driven,
    input  wire [32*160-1:0] e_data,
    input  wire [31:0]       w_driven,
    input  wire [32*160-1:0] w_data,
    output reg               driven,
    output reg  [136:0]      word
);
    wire [7:0] lane = 8'd5 * stream[4:0];  // in 32-bit words; the select below is then known to be aligned

    always @* begin
        driven = 0;
        word = 0;
        if (enable) begin
            if (stream[5]) begin
                driven = w_driven[stream[4:0]];
                word = w_data[{lane, 5'd0} +: 137];
            end else begin
                driven = e_driven[stream[4:0]];
                word = e_data[{lane, 5'd0} +: 137];
            end
        end
    end
endmodule
