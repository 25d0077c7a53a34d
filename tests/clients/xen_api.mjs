// Drives npm's xen-api for a test: `node xen_api.mjs OPTIONS`, with the options of createClient as JSON.
//
// A line of standard input asks, {"id": 1, "name": "call", "arguments": [...]}; a line of standard output answers,
// {"id": 1, "value": ...} or {"id": 1, "failure": [code, ...parameters]}. What may be asked for is any method of the client,
// and the functions of `own`. Answers come as they are ready. The end of standard input is the end of the session.

import { createInterface } from 'node:readline'
import { isDeepStrictEqual } from 'node:util'
import { createClient } from 'xen-api'

const client = createClient(JSON.parse(process.argv[2]))
const underWay = new Map()

const own = {
  // Connects, and waits until the client has a copy of every object of the pool.
  async connect() {
    await client.connect()
    await client.objectsFetched
  },

  // The client's copy of all objects of a class, by reference.
  records(type) {
    const found = Object.values(client.objects.indexes.type[type] ?? {})
    return Object.fromEntries(found.map(record => [record.$ref, record]))
  },

  // Waits until the client's copy of an object has this value in a field, without asking for it.
  see(ref, field, value) {
    return new Promise(resolve => {
      const look = () => {
        const record = client.getObjectByRef(ref, undefined)
        if (record !== undefined && isDeepStrictEqual(record[field], value)) {
          client.objects.off('add', look).off('update', look)
          resolve(null)
        }
      }
      client.objects.on('add', look).on('update', look)
      look()
    })
  },

  // Gets something by HTTP, and waits for the task that the server ends when it has sent it.
  async fetch(path, query) {
    const response = await client.getResource(path, { query })
    const text = await response.body.text()
    await response.task
    return text
  },

  // Gives up an earlier request, as its caller would.
  cancel(id) {
    underWay.get(id).cancel()
  },
}

function failureOf(error) {
  return error.code === undefined ? [String(error)] : [error.code, ...(error.params ?? [])]
}

async function serve({ id, name, arguments: values }) {
  let answer
  try {
    const promise = name in own ? own[name](...values) : client[name](...values)
    underWay.set(id, promise)
    answer = { id, value: (await promise) ?? null }
  } catch (error) {
    answer = { id, failure: failureOf(error) }
  }
  underWay.delete(id)
  console.log(JSON.stringify(answer))
}

for await (const line of createInterface({ input: process.stdin })) {
  serve(JSON.parse(line))
}
await client.disconnect()
// Waits for the calls that are still open, logout among them; after that nothing keeps the process.
await client._undiciDispatcher.close()
