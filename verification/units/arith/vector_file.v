// Test harness: operands from a file in every cycle, and results to a file (vector_file.cpp). Not part of the chip.

// While go is 1, the i-th WORDS words of vectors.bin are on data in the i-th cycle with valid = 1; done rises after the last one.
module vector_source #(
    parameter WORDS = 4
) (
    input  wire                clk,
    input  wire                go,
    output reg                 valid,
    output reg                 done,
    output reg  [32*WORDS-1:0] data
);
    import "DPI-C" function int vector_next(input int words, output bit [32*WORDS-1:0] row);
    bit [32*WORDS-1:0] row;
    int found;
    initial begin
        valid = 0;
        done = 0;
    end
    always @(posedge clk) begin
        if (go && !done) begin
            found = vector_next(WORDS, row);
            data <= row;
            valid <= found != 0;
            done <= found == 0;
        end
    end
endmodule

// Appends data to results.bin in every cycle with valid = 1; the first cycle with flush = 1 completes the file.
module vector_sink #(
    parameter WORDS = 1
) (
    input wire                clk,
    input wire                valid,
    input wire                flush,
    input wire [32*WORDS-1:0] data
);
    import "DPI-C" function void vector_result(input int words, input bit [32*WORDS-1:0] row);
    import "DPI-C" function void vector_flush();
    always @(posedge clk) begin
        if (valid) vector_result(WORDS, data);
        if (flush) vector_flush();
    end
endmodule
