// Test harness: rows of operands from a file, one a cycle, and results to a file (vector_file.cpp). Not part of the chip.

// While go is 1, row i of vectors.bin is on data in the i-th cycle with valid = 1; done rises after the last one.
module vector_source (
    input  wire         clk,
    input  wire         go,
    output reg          valid,
    output reg          done,
    output reg  [127:0] data
);
    import "DPI-C" function int vector_next(output bit [127:0] row);
    bit [127:0] row;
    int found;
    initial begin
        valid = 0;
        done = 0;
    end
    always @(posedge clk) begin
        if (go && !done) begin
            found = vector_next(row);
            data <= row;
            valid <= found != 0;
            done <= found == 0;
        end
    end
endmodule

// Appends data to results.bin in every cycle with valid = 1; the first cycle with flush = 1 completes the file.
module vector_sink (
    input wire        clk,
    input wire        valid,
    input wire        flush,
    input wire [31:0] data
);
    import "DPI-C" function void vector_result(input int word);
    import "DPI-C" function void vector_flush();
    always @(posedge clk) begin
        if (valid) vector_result(data);
        if (flush) vector_flush();
    end
endmodule
