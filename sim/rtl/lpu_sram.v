// Static RAM with one read and one write port. A read issued in cycle t (r_en = 1) is visible on r_data from t+1 and is
// held until the next read. A write issued in cycle t is seen by reads issued from t+1 on; a read of the same address in
// the same cycle returns the old word.
//
// With LPU_SIM defined, a rising edge of sim_load writes the words that the C++ side (lpu_dpi.cpp) holds for this id,
// and a rising edge of sim_dump hands it the words that it wants. Neither needs the clock. WIDTH is at most 160 there.
module lpu_sram #(
    parameter WIDTH = 137,
    parameter DEPTH = 512,
    parameter ADDR  = $clog2(DEPTH)
) (
    input  wire             clk,
    input  wire [31:0]      id,
    input  wire             r_en,
    input  wire [ADDR-1:0]  r_addr,
    output reg  [WIDTH-1:0] r_data,
    input  wire             w_en,
    input  wire [ADDR-1:0]  w_addr,
    input  wire [WIDTH-1:0] w_data,
    input  wire             sim_load,
    input  wire             sim_dump
);
    reg [WIDTH-1:0] mem [0:DEPTH-1];

    reg [ADDR-1:0] address;  // without it Verilator repeats the expression behind w_addr for every 32 bits of a word

    always @(posedge clk) begin
        if (r_en) r_data <= mem[r_addr];
        if (w_en) begin  // blocking, after the read: the read sees the old word
            address = w_addr;
            mem[address] = w_data;
        end
    end

`ifdef LPU_SIM
    import "DPI-C" function int  lpu_load_next(input int id, input int width, input int depth,
                                               output int address, output bit [159:0] word);
    import "DPI-C" function int  lpu_dump_next(input int id, input int depth, output int address);
    import "DPI-C" function void lpu_dump_word(input int id, input bit [159:0] word);
    reg [159:0] sim_word;
    int         sim_address;

    always @(posedge sim_load) begin
        while (lpu_load_next(id, WIDTH, DEPTH, sim_address, sim_word) != 0) begin
            mem[sim_address[ADDR-1:0]] = sim_word[WIDTH-1:0];
        end
    end

    always @(posedge sim_dump) begin
        while (lpu_dump_next(id, DEPTH, sim_address) != 0) begin
            lpu_dump_word(id, {{(160 - WIDTH){1'b0}}, mem[sim_address[ADDR-1:0]]});
        end
    end
`endif
endmodule
