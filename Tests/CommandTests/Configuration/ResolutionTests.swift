import Foundation
import Testing

@testable import device_rpc

@Suite struct ResolutionTests {
  private func resolve(
    _ arguments: [String] = [], _ environment: [String: String] = [:], _ json: String = "{}", at path: String = "conf/serve.json"
  ) throws -> Resolution<ServeOptions> {
    let file = try ConfigurationFile(path: path, bytes: [UInt8](json.utf8))
    return try Resolution(ServeOptions.parse(arguments), ServeOptions.settings, environment: environment, file: file)
  }

  private func row(_ name: String, _ resolution: Resolution<ServeOptions>) -> [Substring]? {
    resolution.lines.map { $0.split(separator: "  ").map { Substring($0.trimmingCharacters(in: .whitespaces)) } }
      .first { $0.first == Substring(name) }
  }

  private func error(
    _ arguments: [String] = [], _ environment: [String: String] = [:], _ json: String = "{}"
  ) -> String {
    do {
      _ = try resolve(arguments, environment, json)
      return "none"
    } catch {
      return "\(error)"
    }
  }

  @Test func `the command line wins over the environment, that over the file, and that over the default`() throws {
    let json = #"{"timeout": 3}"#
    let environment = ["DEVICE_RPC_TIMEOUT": "4"]
    let byAll = try resolve(["--timeout", "5"], environment, json)
    #expect(byAll.options.timeout == 5)
    #expect(row("timeout", byAll) == ["timeout", "5.0", "command line"])
    let byTwo = try resolve([], environment, json)
    #expect(byTwo.options.timeout == 4)
    #expect(row("timeout", byTwo) == ["timeout", "4.0", "DEVICE_RPC_TIMEOUT"])
    let byFile = try resolve([], [:], json)
    #expect(byFile.options.timeout == 3)
    #expect(row("timeout", byFile) == ["timeout", "3.0", "conf/serve.json"])
    let byNone = try resolve()
    #expect(byNone.options.timeout == 10)
    #expect(row("timeout", byNone) == ["timeout", "10.0", "default"])
  }

  @Test func `every kind of value can come from the environment and from a file`() throws {
    let variables = [
      "DEVICE_RPC_DATA": "d", "DEVICE_RPC_LISTEN": "coaps://0.0.0.0:5684, coap://127.0.0.1", "DEVICE_RPC_NUMBERS": "as-written",
      "DEVICE_RPC_MAX_PAYLOAD": "77", "DEVICE_RPC_WAIT": "0.5", "DEVICE_RPC_LOG_LEVEL": "debug",
      "DEVICE_RPC_ALLOW_PLAIN_COAP_FROM_NETWORK": "true", "HOME": "/",
    ]
    let json = """
      {"data": "d", "listen": ["coaps://0.0.0.0:5684", "coap://127.0.0.1"], "numbers": "as-written", "max-payload": 7.7e1,
       "wait": 0.5, "log-level": "debug", "allow-plain-coap-from-network": true}
      """
    for resolution in [try resolve([], variables), try resolve([], [:], json, at: "serve.json")] {
      let options = resolution.options
      #expect(options.listening.data == "d")
      #expect(options.listening.listen == ["coaps://0.0.0.0:5684", "coap://127.0.0.1"])
      #expect(options.numbers == .asWritten)
      #expect(options.maxPayload == 77)
      #expect(options.wait == 0.5)
      #expect(options.logLevel == .debug)
      #expect(options.listening.allowPlainCoapFromNetwork)
    }
  }

  @Test func `a list replaces the list of the place that it wins over`() throws {
    let json = #"{"host": ["127.0.0.1", "127.0.0.2"]}"#
    #expect(try resolve([], [:], json).options.listening.host == ["127.0.0.1", "127.0.0.2"])
    #expect(try resolve(["--host", "127.0.0.3"], [:], json).options.listening.host == ["127.0.0.3"])
  }

  @Test func `a flag of the file can be switched off in the environment`() throws {
    let json = #"{"allow-plain-coap-from-network": true}"#
    let off = try resolve([], ["DEVICE_RPC_ALLOW_PLAIN_COAP_FROM_NETWORK": "false"], json)
    #expect(!off.options.listening.allowPlainCoapFromNetwork)
    #expect(
      row("allow-plain-coap-from-network", off)
        == ["allow-plain-coap-from-network", "false", "DEVICE_RPC_ALLOW_PLAIN_COAP_FROM_NETWORK"])
  }

  @Test func `a relative path starts at the folder of the file, and in the environment where the command runs`() throws {
    let json = #"{"data": "data", "certificate": "/etc/server.pem", "ca": "../ca.pem"}"#
    let options = try resolve([], ["DEVICE_RPC_KEY": "server.key"], json).options.listening
    #expect(options.data == "conf/data")
    #expect(options.certificate == "/etc/server.pem")
    #expect(options.ca == "conf/../ca.pem")
    #expect(options.key == "server.key")
    #expect(try resolve([], [:], json, at: "serve.json").options.listening.data == "data")
  }

  @Test func `without listen the table shows where the server listens`() throws {
    #expect(row("listen", try resolve(["--port", "7"])) == ["listen", "coap://127.0.0.1:7", "default"])
    #expect(
      row("listen", try resolve([], [:], #"{"data": "d"}"#)) == [
        "listen", "coaps://0.0.0.0:5684,coap://127.0.0.1:5683", "default",
      ])
  }

  @Test(arguments: [
    (#"{"timeout": "3"}"#, #"timeout in conf/serve.json must be a number, 0.001 to 86400 seconds, not "3""#),
    (#"{"timeout": 0}"#, "timeout in conf/serve.json must be 0.001 to 86400 seconds, not 0"),
    (#"{"wait": 0.0001}"#, "wait in conf/serve.json must be 0, or 0.001 to 86400 seconds, not 0.0001"),
    (#"{"threads": 65}"#, "threads in conf/serve.json must be 1 to 64, not 65"),
    (#"{"threads": 1.5}"#, "threads in conf/serve.json must be 1 to 64, not 1.5"),
    (#"{"port": 65536}"#, "port in conf/serve.json must be 0 to 65535, not 65536"),
    (#"{"numbers": "ints"}"#, #"numbers in conf/serve.json must be one of floats, as-written, not "ints""#),
    (#"{"data": ""}"#, #"data in conf/serve.json must be the path of a directory, not """#),
    (#"{"data": null}"#, "data in conf/serve.json must be a string, the path of a directory, not null"),
    (#"{"host": "::1"}"#, #"host in conf/serve.json must be an array of strings, each an IPv4 or IPv6 address, not "::1""#),
    (
      #"{"host": ["::1", 2]}"#,
      #"host in conf/serve.json must be an array of strings, each an IPv4 or IPv6 address, not ["::1",2]"#
    ),
    (#"{"host": []}"#, "host in conf/serve.json must be an IPv4 or IPv6 address, not []"),
    (#"{"host": ["a\u001b"]}"#, #"host in conf/serve.json must be an IPv4 or IPv6 address, not "a\u001b""#),
    (
      #"{"allow-plain-coap-from-network": 1}"#, "allow-plain-coap-from-network in conf/serve.json must be true or false, not 1"
    ),
    (#"{"timeOut": 3}"#, #"conf/serve.json has the unknown key "timeOut"; did you mean timeout?"#),
    (#"{"logLevel": "info"}"#, #"conf/serve.json has the unknown key "logLevel"; did you mean log-level?"#),
    (#"{"cipher-suites": []}"#, #"conf/serve.json has the unknown key "cipher-suites"; did you mean cipher-suite?"#),
    (#"{"config": "x"}"#, #"conf/serve.json has the unknown key "config"; device-rpc serve --help lists all"#),
    ("[]", "conf/serve.json must be a JSON object, with a key for each option"),
    ("{\n  \"é\": }", "conf/serve.json, line 2, column 8: JSON: expected a value, found '}' at byte 10"),
    ("", "conf/serve.json, line 1, column 1: JSON: expected a value, found the end at byte 0"),
  ])
  func `a mistake in the file is told with its key, its place and what is allowed`(_ json: String, _ message: String) {
    #expect(error([], [:], json) == message)
  }

  @Test(arguments: [
    ("DEVICE_RPC_TIMEOUT", "soon", #"DEVICE_RPC_TIMEOUT must be 0.001 to 86400 seconds, not "soon""#),
    ("DEVICE_RPC_TIMEOUT", "nan", "DEVICE_RPC_TIMEOUT must be 0.001 to 86400 seconds, not nan"),
    ("DEVICE_RPC_PORT", "tcp://10.0.0.1:5683", #"DEVICE_RPC_PORT must be 0 to 65535, not "tcp://10.0.0.1:5683""#),
    ("DEVICE_RPC_HOST", "::1,,", #"DEVICE_RPC_HOST must be an IPv4 or IPv6 address, not "::1,,""#),
    (
      "DEVICE_RPC_ALLOW_PLAIN_COAP_FROM_NETWORK", "yes",
      #"DEVICE_RPC_ALLOW_PLAIN_COAP_FROM_NETWORK must be true or false, not "yes""#
    ),
    (
      "DEVICE_RPC_TIMOUT", "1", "the environment variable DEVICE_RPC_TIMOUT is unknown; did you mean DEVICE_RPC_TIMEOUT?"
    ),
    (
      "DEVICE_RPC_SERVICE_HOST", "1",
      "the environment variable DEVICE_RPC_SERVICE_HOST is unknown; device-rpc serve --help lists all"
    ),
  ])
  func `a mistake in the environment is told with the variable and what is allowed`(
    _ name: String, _ value: String, _ message: String
  ) {
    #expect(error([], [name: value]) == message)
  }

  @Test func `the variables of other commands and of the file are known`() throws {
    let environment = ["DEVICE_RPC_SERVER": "s", "DEVICE_RPC_API_KEY": "k", "DEVICE_RPC_CONFIG": "f"]
    #expect(throws: Never.self) { try resolve([], environment) }
  }

  @Test func `the command line is checked alike, and a value is checked also when another one wins`() {
    #expect(error(["--timeout", "0"]) == "--timeout must be 0.001 to 86400 seconds, not 0.0.")
    #expect(error(["--timeout", "5"], ["DEVICE_RPC_TIMEOUT": "0"]) == "DEVICE_RPC_TIMEOUT must be 0.001 to 86400 seconds, not 0")
  }

  @Test func `a secret is neither in the table nor in an error`() throws {
    let secret = Setting<ListenOptions>("key", \.key, "", allowed: "four letters", isSecret: true) { $0.count == 4 }
    func resolve(_ json: String) throws -> [String] {
      let file = try ConfigurationFile(path: "f", bytes: [UInt8](json.utf8))
      return try Resolution(ListenOptions.parse([]), [secret], environment: [:], file: file).lines
    }
    #expect(try resolve(#"{"key": "abcd"}"#) == ["key  value     source", "key  ********  f"])
    for (json, message) in [
      (#"{"key": "abc"}"#, "key in f must be four letters"), (#"{"key": 12}"#, "key in f must be a string, four letters"),
    ] {
      #expect(throws: ConfigurationError(message)) { try resolve(json) }
    }
  }

  @Test func `every option of serve is a setting, with its help`() {
    let options = ServeCommand.helpMessage().matches(of: /\n  (?:-h, )?--([a-z-]+)/).map { String($0.1) }
    let others: Set = ["config", "print-config", "version", "help"]
    #expect(Set(options).subtracting(others) == Set(ServeOptions.settings.map(\.name)))
    for setting in ServeOptions.settings { #expect(!setting.help.abstract.isEmpty, "\(setting.name)") }
  }

  @Test func `the example file is right`() throws {
    let path = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../Examples/device-rpc.json").standardized.path
    let options = try Resolution(
      ServeOptions.parse([]), ServeOptions.settings, environment: [:], file: ConfigurationFile(path: path)
    ).options
    #expect(throws: Never.self) { try options.listening.check() }
    #expect(options.listening.data == "/var/lib/device-rpc")
    #expect(options.timeout == 30)
  }
}
