import DeviceRPC
import Glibc
import Testing

/// Calls that a person answers with libcoap's `coap-client`, as in the README.
@Suite(.timeLimit(.minutes(2))) struct CoAPClientCallTests {
  @Test("A call is read from one coap-client and answered with another", arguments: [[], ["-N"]])
  func json(_ options: [String]) async throws {
    try await withServer { server, port in
      try await CoAPClient.observing(port, .json, options) { client in
        async let result = server.device("sensor-1").call("multiply", 7, 191)
        #expect(try await client.line() == #"{"id":"multiply/74e4","method":"multiply","params":[7,191]}"#)
        let answer = try await CoAPClient.request(
          port, "/.rpc/status", "-m", "post", "-t", "50", "-e",
          #"{"id":"multiply/74e4","status":0,"detail":{"value":1337}}"#)
        #expect(answer == .init())
        #expect(try await result.detail == ["value": 1_337])
      }
    }
  }

  @Test("A call in CBOR is answered with a file")
  func cbor() async throws {
    try await withServer { server, port in
      try await CoAPClient.observing(port, .cbor) { client in
        async let result = server.device("sensor-1").call("multiply", 7, 191)
        let call = await client.bytes()
        let expected = """
          a3 626964 6d6d756c7469706c792f37346534 666d6574686f64 686d756c7469706c79
          66706172616d73 82 fb401c000000000000 fb4067e00000000000
          """
        #expect(call == [UInt8](hex: expected))
        let file = """
          bf 626964 6d6d756c7469706c792f37346534 6664657461696c bf 6576616c7565 fb4094e40000000000 ff
          6a737461747573436f6465 00 ff
          """
        let answer = try await CoAPClient.post(port, file: [UInt8](hex: file), .cbor)
        #expect(answer == .init())
        #expect(try await result.detail == ["value": .double(1_337)])
      }
    }
  }

  @Test("A device may refuse a call, and get the next one")
  func refusal() async throws {
    try await withServer { server, port in
      try await CoAPClient.observing(port) { client in
        async let refused = server.perform(Call("open"), on: "sensor-1")
        #expect(try await client.line() == #"{"id":"open/74e4","method":"open","params":[]}"#)
        _ = try await CoAPClient.post(port, #"{"id":"open/74e4","status":7,"detail":"locked"}"#)
        #expect(try await refused.status == .permissionDenied)
        #expect(try await refused.detail == "locked")
        async let accepted = server.device("sensor-1").call("open", true)
        #expect(try await client.line() == #"{"id":"open/74e5","method":"open","params":[true]}"#)
        _ = try await CoAPClient.post(port, #"{"id":"open/74e5","statusCode":0}"#)
        #expect(try await accepted.detail == nil)
      }
    }
  }

  @Test("Three devices are told apart by their names")
  func names() async throws {
    try await withServer { server, port in
      try await CoAPClient.observing(port, as: "a") { a in
        try await CoAPClient.observing(port, as: "b") { b in
          try await CoAPClient.observing(port, as: "%C3%BC%20%26") { c in
            let devices = await server.devices()
            #expect(devices.map(\.name) == ["a", "b", "ü &"])
            try await server.device("b").callOneWay("f")
            try await server.device("ü &").callOneWay("g")
            try await server.device("a").callOneWay("h")
            #expect(try await a.line().contains(#""method":"h""#))
            #expect(try await b.line().contains(#""method":"f""#))
            #expect(try await c.line().contains(#""method":"g""#))
          }
        }
      }
    }
  }

  @Test("A GET without Observe takes a call that waits, or OK")
  func poll() async throws {
    try await withServer { server, port in
      #expect(try await CoAPClient.request(port, "/.rpc?ep=sensor-1") == .init(output: "\"OK\""))
      async let result = server.device("sensor-1").call("f", 1, wait: .seconds(40))
      while await server.device("sensor-1").info?.openCalls != 1 { await Task.yield() }
      let call = #"{"id":"f/74e4","method":"f","params":[1]}"#
      #expect(try await CoAPClient.request(port, "/.rpc?ep=sensor-1", "-A", "50") == .init(output: call))
      #expect(try await CoAPClient.request(port, "/.rpc?ep=sensor-1", "-A", "50") == .init(output: "\"OK\""))
      _ = try await CoAPClient.post(port, #"{"id":"f/74e4","status":0,"detail":2}"#)
      #expect(try await result.detail == 2)
    }
  }

  @Test("Ctrl-C takes leave of the server")
  func interrupt() async throws {
    try await withServer { server, port in
      let events = server.events()
      try await CoAPClient.observing(port) { client in
        client.send(SIGINT)
        let reason = try await events.reasonForLeaving(of: "sensor-1")
        #expect(reason == "it has deregistered")
        #expect(await client.exitCode() == 0)
        await #expect(throws: CallError.offline("sensor-1")) { try await server.device("sensor-1").call("f") }
      }
    }
  }

  @Test("A call to a client that was killed is undelivered, and the device offline")
  func kill() async throws {
    try await withServer(transmission: .impatient) { server, port in
      let events = server.events()
      try await CoAPClient.observing(port) { client in
        client.send(SIGKILL)
        #expect(await client.exitCode() == -SIGKILL)
        let reason = "not acknowledged after all retransmissions"
        await #expect(throws: CallError.undelivered(device: "sensor-1", reason: reason)) {
          try await server.device("sensor-1").call("f")
        }
        let toldReason = try await events.reasonForLeaving(of: "sensor-1")
        #expect(toldReason == reason)
        await #expect(throws: CallError.offline("sensor-1")) { try await server.device("sensor-1").call("f") }
      }
      try await CoAPClient.observing(port) { client in
        try await server.device("sensor-1").callOneWay("again")
        #expect(try await client.line().contains("again"))
      }
    }
  }
}
