import DeviceRPC
import Testing

@testable import device_rpc

@Suite struct ConsoleLineTests {
  @Test("A line is split at white space outside of quotes, brackets and braces")
  func tokens() throws {
    let cases: [String: [String]] = [
      "": [], "   \t": [], " a  b\tc ": ["a", "b", "c"],
      #"s set {"a": [1, 2]} [3, 4]"#: ["s", "set", #"{"a": [1, 2]}"#, "[3, 4]"],
      #"s echo "two words" x"#: ["s", "echo", #""two words""#, "x"],
      #"s echo "a \" b" "]""#: ["s", "echo", #""a \" b""#, #""]""#],
      #"s echo ["]", "} {"]"#: ["s", "echo", #"["]", "} {"]"#],
      #"s echo don't say"hi there""#: ["s", "echo", "don't", #"say"hi"#, #"there""#],
      "s echo ] } :-]": ["s", "echo", "]", "}", ":-]"],
      #""a"b c"#: [#""a"b"#, "c"],
      #"s "" x"#: ["s", #""""#, "x"],
    ]
    for (line, tokens) in cases { #expect(try ConsoleLine.tokens(of: line) == tokens, "\(line)") }
  }

  @Test("What is left open is a mistake", arguments: ["s f [1, 2", #"s f {"a": 1"#, #"s f "x"#, #"s f "x\""#])
  func open(_ line: String) {
    #expect(throws: ConsoleLine.Problem.self) { try ConsoleLine(line) }
  }

  @Test("Parameters are JSON where they are JSON, else text")
  func parameters() throws {
    #expect(
      try ConsoleLine(#"sensor-1 f 7 -2.5 true null hello "7" {"a":[1,2]} 1.2.3"#)
        == .call(
          device: "sensor-1", method: "f",
          params: [7, -2.5, true, nil, "hello", "7", ["a": [1, 2]], "1.2.3"]))
    #expect(try ConsoleLine("sensor-1 f") == .call(device: "sensor-1", method: "f", params: []))
    #expect(try ConsoleLine(#""my device" f"#) == .call(device: "my device", method: "f", params: []))
  }

  @Test("What begins like JSON and is none is refused", arguments: ["s f {a:1}", "s f [1,]", "s f 18446744073709551617", "s f 1e999", #"s f "a"b"#, #""a"b f"#])
  func mistakes(_ line: String) {
    #expect(throws: ConsoleLine.Problem.self) { try ConsoleLine(line) }
  }

  @Test("Single words are commands or devices, commands with more behind them devices")
  func words() throws {
    #expect(try ConsoleLine("") == .empty)
    #expect(try ConsoleLine("help") == .help)
    #expect(try ConsoleLine("devices") == .devices)
    #expect(try ConsoleLine("quit") == .quit)
    #expect(try ConsoleLine("sensor-1") == .device("sensor-1"))
    #expect(try ConsoleLine(#""help""#) == .device("help"))
    #expect(try ConsoleLine("devices f") == .call(device: "devices", method: "f", params: []))
  }

  @Test("Bytes are cut into lines, long ones left out, the last without a newline kept")
  func lines() {
    var splitter = LineSplitter()
    var lines: [String] = []
    let emit = { (item: StandardInput.Item) in
      switch item {
      case .line(let text): lines.append(text)
      case .tooLong: lines.append("too long")
      }
    }
    splitter.add(Array("a\r\n\nb".utf8), emit)
    splitter.add(Array("c\n".utf8), emit)
    splitter.add([UInt8](repeating: 120, count: LineSplitter.longest + 1), emit)
    splitter.add(Array("\nlast \u{0}".utf8) + [0xff], emit)
    splitter.finish(emit)
    splitter.finish(emit)
    #expect(lines == ["a", "", "bc", "too long", "last \u{0}\u{fffd}"])
  }

  @Test("Nothing that a terminal would obey is printed")
  func safety() {
    #expect(Output.safe("a\u{61c}b\u{200b}c\u{feff} 👩\u{200d}🔧") == #"a\u{61c}b\u{200b}c\u{feff} "# + "👩\u{200d}🔧")
    #expect(Output.safe("ok é 👍\t\u{1b}[2J\r\n\u{9b}\u{202e}\u{2028}") == #"ok é 👍\u{9}\u{1b}[2J\u{d}\u{a}\u{9b}\u{202e}\u{2028}"#)
  }

  @Test("Times are short")
  func times() {
    #expect(Duration.microseconds(432).milliseconds == "0.4 ms")
    #expect(Duration.microseconds(12_345).milliseconds == "12 ms")
    #expect(Duration.milliseconds(2_345).milliseconds == "2.3 s")
  }
}
