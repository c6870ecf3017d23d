export type { RabbitMqAdmin } from './admin.ts'
export type { RabbitMqOptions } from './options.ts'
export { rabbitmq, type RabbitMqTransport } from './rabbitmq.ts'
export { serverBehaviour, type QueueType, type ServerBehaviour } from './server-version.ts'
