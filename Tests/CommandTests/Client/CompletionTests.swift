import DeviceRPC
import Foundation
import Testing

@testable import device_rpc

@Suite(.timeLimit(.minutes(1))) struct CompletionTests {
  private static func isInstalled(_ shell: String) -> Bool {
    ["/bin", "/usr/bin", "/usr/local/bin"].contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(shell)") }
  }

  /// A file with the script for a shell.
  private func withScript<Result>(_ shell: String, _ body: (String) async throws -> Result) async throws -> Result {
    let script = try await run(["--generate-completion-script", shell])
    try #require(script.code == 0 && script.error.isEmpty && script.output.count > 100)
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("completion-\(UUID()).\(shell)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try script.output.joined(separator: "\n").appending("\n").write(toFile: path, atomically: true, encoding: .utf8)
    return try await body(path)
  }

  @Test(arguments: [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
  func `each shell gets a script that it can read`(_ shell: String, _ option: String) async throws {
    try await withScript(shell) { path in
      guard Self.isInstalled(shell) else { return }
      let finished = try await run(program: shell, [option, path])
      #expect(finished == Finished(output: [], error: [], code: 0))
    }
  }

  /// What bash offers for the last word.
  private func completions(_ words: [String], server: String = "") async throws -> [String] {
    try await withScript("bash") { path in
      let finished = try await run(
        program: "bash",
        [
          "-c", #"source "$1"; export DEVICE_RPC_SERVER="$2"; shift 2; COMP_WORDS=("$0" "$@"); COMP_CWORD=$#; "#
            + #"COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; _device-rpc "$0" "${@: -1}" ""; printf '%s\n' "${COMPREPLY[@]}""#,
          RunningCommand.deviceRPC, path, server,
        ] + words)
      #expect(finished.error.isEmpty)
      return finished.output.filter { !$0.isEmpty }
    }
  }

  @Test func `devices are those that the server knows`() async throws {
    try await withDevice(count: 3) { (server) async throws in
      #expect(try await completions(["watch", ""], server: server.url) == ["sensor-1", "sensor-2", "sensor-3"])
      #expect(try await completions(["call", "--server", server.url, "sensor-2"]) == ["sensor-2"])
      #expect(try await completions(["call", "x"], server: server.url).isEmpty)
    }
    // Without a server there are none, and nobody is told.
    #expect(try await completions(["watch", ""], server: "http://127.0.0.1:1").isEmpty)
  }

  @Test func `devices and keys of a directory are those that it has`() async throws {
    try await withData { (data) async throws in
      #expect(try await completions(["devices", "show", "--data", data.directory, ""]).isEmpty)
      for name in ["pump-1", "pump-2", "pump $(echo ran)"] { #expect(try await data.devices("add", name).code == 0) }
      #expect(try await data.keys("add", "billing").code == 0)
      #expect(try await completions(["devices", "disable", "--data", data.directory, "pump-"]) == ["pump-1", "pump-2"])
      #expect(try await completions(["devices", "rotate", "--data=\(data.directory)", "pump-2"]) == ["pump-2"])
      #expect(try await completions(["keys", "revoke", "--data", data.directory, ""]) == ["billing"])
    }
  }

  @Test func `names that a device has chosen do no harm`() {
    let names = ["", "--server=evil", "a\u{1b}[2J", "b\nc", "aa:bb", #"c\d"#, "ä", "$(reboot)", "`reboot`", "a b", "a;b", "~", "*", "a'", "{a,b}"]
    #expect(Completion.candidates(names, isForZsh: false) == ["aa:bb", "ä"])
    #expect(Completion.candidates(names, isForZsh: true) == [#"aa\:bb"#, "ä"])
  }

  @Test func `the value of an option is its last one`() {
    func value(_ words: String...) -> String? { Completion.value(of: "--server", in: words) }
    #expect(value("call", "x") == nil && value("--server") == "" && value("--serverx", "y") == nil)
    #expect(value("--server", "a", "x", "--server=b") == "b" && value("--server='c'") == "c")
  }
}
