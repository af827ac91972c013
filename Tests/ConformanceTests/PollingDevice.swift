import AsyncHTTPClient
import DeviceRPC
import DeviceSimulator
import Foundation
import NIOCore
import Testing

/// A device with ThingsBoard's HTTP API: it asks for its calls, one after the other, and POSTs their results.
struct PollingDevice: Sendable {
  /// `http://127.0.0.1:8080/api/v1/TOKEN/rpc`
  let url: String
  let device: ConformanceDevice

  private struct Call: Sendable {
    let id: Int64
    let method: String
    let params: [SimulatedValue]

    /// Read with Foundation, so that an error of the server's own JSON cannot go unnoticed.
    init(_ body: [UInt8]) throws {
      let message = try JSONDecoder().decode(SimulatedValue.self, from: Data(body))
      guard case .int(let id)? = message["id"], case .text(let method)? = message["method"], let params = message["params"] else {
        throw NotACall(text: String(decoding: body, as: UTF8.self))
      }
      self.id = id
      self.method = method
      if case .array(let items) = params { self.params = items } else { self.params = [params] }
    }
  }

  private struct NotACall: Error {
    let text: String
  }

  /// Runs until the task is cancelled, or the server ends the connection. A function that takes long does not hold up other calls.
  func run() async {
    await withDiscardingTaskGroup { group in
      while let call = await next() {
        device.take(call.method, call.params.map { RPCValue($0) })
        group.addTask { await answer(call) }
      }
      group.cancelAll()
    }
  }

  /// The next call; nil when there is none any more.
  private func next() async -> Call? {
    while !Task.isCancelled {
      do {
        let response = try await HTTPClient.shared.execute(HTTPClientRequest(url: url), timeout: .seconds(90))
        let body = Array(buffer: try await response.body.collect(upTo: 1 << 20))
        switch response.status.code {
        case 200: return try Call(body)
        // None in time.
        case 408: break
        // The server has ended the connection.
        case 503: return nil
        default:
          Issue.record("a request for a call was answered with \(response.status.code)")
          return nil
        }
      } catch {
        if !Task.isCancelled { Issue.record(error) }
        return nil
      }
    }
    return nil
  }

  private func answer(_ call: Call) async {
    let result = await ConformanceFunctions.answer(call.method, call.params)
    if Task.isCancelled { return }
    do {
      var request = HTTPClientRequest(url: "\(url)/\(call.id)")
      request.method = .POST
      request.headers.add(name: "Content-Type", value: "application/json")
      request.body = .bytes(Array(try JSONEncoder().encode(Self.body(result))))
      let response = try await HTTPClient.shared.execute(request, timeout: .seconds(90))
      _ = try await response.body.collect(upTo: 1 << 20)
      if response.status.code != 200 { Issue.record("a result was answered with \(response.status.code)") }
    } catch {
      if !Task.isCancelled { Issue.record(error) }
    }
  }

  /// As firmware without statuses has it: a failure tells of itself in its own words.
  private static func body(_ result: SimulatedResult) -> SimulatedValue {
    let detail = result.detail ?? [:]
    return result.status == 0 ? detail : ["error": detail["error"] ?? .null, "status": .int(Int64(result.status))]
  }
}
