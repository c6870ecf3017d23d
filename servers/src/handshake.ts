import { connect } from 'node:net'

/** What a client of the protocol says first, and how to know the server by its answer. */
interface Greeting {
  readonly hello: Buffer
  knows(answer: Buffer): boolean
}

const greetings = {
  /** AMQP 0-9-1: the protocol header is answered with the method frame `connection.start` (class 10, method 10). */
  rabbitmq: {
    hello: Buffer.from('AMQP\0\0\x09\x01', 'latin1'),
    knows: answer => answer.length >= 11 && answer[0] === 1 && answer.readUInt32BE(7) === 0x000a000a,
  },
  /** PostgreSQL: the request for TLS is answered with one letter. */
  postgres: {
    hello: Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]),
    knows: answer => answer[0] === 0x53 || answer[0] === 0x4e,
  },
  /** Kafka: ApiVersions, version 0, correlation id 7, no client id. */
  kafka: {
    hello: Buffer.from([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]),
    knows: answer => answer.length >= 8 && answer.readUInt32BE(4) === 7,
  },
} as const satisfies Record<string, Greeting>

export type Protocol = keyof typeof greetings

/** Whether a server that speaks `protocol` answers there within `limitMs`. An open port alone is no server. */
export function answers(protocol: Protocol, host: string, port: number, limitMs = 3_000): Promise<boolean> {
  const { hello, knows } = greetings[protocol]
  return new Promise(resolve => {
    const socket = connect({ host, port })
    let answer = Buffer.alloc(0)
    const settle = (verdict: boolean): void => {
      socket.destroy()
      resolve(verdict)
    }
    socket.setTimeout(limitMs, () => settle(false))
    socket.on('connect', () => socket.write(hello))
    socket.on('data', bytes => {
      answer = Buffer.concat([answer, bytes])
      if (knows(answer)) settle(true)
    })
    socket.on('error', () => settle(false))
    socket.on('close', () => settle(knows(answer)))
  })
}
