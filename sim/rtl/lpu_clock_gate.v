// Integrated clock gate: passes the high phases of clk whose preceding low phase ended with enable = 1.
module lpu_clock_gate (
    input  wire clk,
    input  wire enable,
    output wire gated
);
    reg latched;
    always @* if (!clk) latched = enable;
    assign gated = clk & latched;
endmodule
