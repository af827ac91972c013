import DeviceRPC
import Foundation
import Testing

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct ConsoleTests {
  /// The folder of the files.
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../../Sources/DeviceRPCHTTP/Console/Web").standardized

  private static var names: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() }
  }

  @Test func `each file of the folder is served as it is, with its type`() async throws {
    let types = ["html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"]
    let names = try Self.names
    #expect(Set(names) == Set(ConsoleFile.all.keys).union(["index.html"]))
    try await withAPI { (api) async throws in
      for name in names {
        let answer = try await api.get(name == "index.html" ? "/" : "/console/\(name)")
        #expect(answer.status == 200, "\(name)")
        #expect(try answer.text == String(contentsOf: Self.folder.appendingPathComponent(name), encoding: .utf8), "\(name)")
        let type = try #require(types[String(name.split(separator: ".").last ?? "")], "\(name)")
        #expect(answer.header("Content-Type")?.hasPrefix(type) == true, "\(name)")
      }
    }
  }

  @Test func `the console is let do nothing but ask its own server`() async throws {
    try await withAPI { (api) async throws in
      for path in ["/", "/console/app.js"] {
        let answer = try await api.get(path)
        let policy = try #require(answer.header("Content-Security-Policy"))
        #expect(policy.hasPrefix("default-src 'none'; script-src 'self'; style-src 'self';") && !policy.contains("unsafe"))
        #expect(policy.contains("frame-ancestors 'none'") && policy.contains("require-trusted-types-for 'script'"))
        #expect(answer.header("X-Content-Type-Options") == "nosniff" && answer.header("Referrer-Policy") == "no-referrer")
        #expect(answer.header("Cache-Control") == "no-cache")
      }
    }
  }

  @Test func `a browser that has a file is not sent it again`() async throws {
    try await withAPI { (api) async throws in
      for path in ["/", "/console/style.css"] {
        let tag = try #require(try await api.get(path).header("ETag"))
        let again = try await api.get(path, headers: ["If-None-Match": tag])
        #expect(again.status == 304 && again.text.isEmpty && again.header("ETag") == tag)
        #expect(again.header("Content-Security-Policy") != nil)
        #expect(try await api.get(path, headers: ["If-None-Match": "\"other\""]).status == 200)
      }
    }
  }

  @Test func `the console needs no key, and what it has not got is a problem`() async throws {
    let keys = InMemoryAPIKeys()
    _ = keys.add("some", .all)
    try await withAPI(keys: keys) { (api) async throws in
      #expect(try await api.get("/").status == 200)
      #expect(try await api.get("/v1/devices").status == 401)
      for path in ["/console/none.js", "/console/..%2FPackage.swift", "/console/index.html"] {
        #expect(try await api.get(path).type == "/v1/problems/not-found", "\(path)")
      }
      #expect(try await api.ask(.post, "/").header("Allow") == "GET, HEAD")
    }
    try await withAPI(configure: { $0.hasConsole = false }) { (api) async throws in
      #expect(try await api.get("/").status == 404)
    }
  }
}
