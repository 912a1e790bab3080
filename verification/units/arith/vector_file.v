// Test harness: rows of operands from a file, one a cycle, and results to a file. Not part of the chip.

// While go is 1, row i of vectors.bin is on data in the i-th cycle with valid = 1; done rises after the last one. A row has WIDTH / 8
// bytes, least significant first, as Verilator's $fread takes them.
module vector_source #(parameter WIDTH = 8) (
    input  wire             clk,
    input  wire             go,
    output reg              valid,
    output reg              done,
    output reg  [WIDTH-1:0] data
);
    integer file, count;
    reg [WIDTH-1:0] row;
    initial begin
        file = 0;
        valid = 0;
        done = 0;
    end
    always @(posedge clk) begin
        if (go) begin
            if (file == 0) file = $fopen("vectors.bin", "rb");
            count = $fread(row, file);
            data <= row;
            valid <= count == WIDTH / 8;
            done <= count != WIDTH / 8;
        end
    end
endmodule

// Appends data to results.bin (32 bits, least significant byte first) in every cycle with valid = 1; flush closes the file.
module vector_sink (
    input wire        clk,
    input wire        valid,
    input wire        flush,
    input wire [31:0] data
);
    integer file;
    initial file = 0;
    always @(posedge clk) begin
        if (valid) begin
            if (file == 0) file = $fopen("results.bin", "wb");
            $fwrite(file, "%u", data);
        end
        if (flush && file != 0) begin
            $fclose(file);
            file = 0;
        end
    end
endmodule
