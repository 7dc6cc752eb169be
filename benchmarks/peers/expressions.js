// Evaluates expressions by the reference implementation of JSONata in Node.js.
// Input, one JSON object a line: {expression, bindings, times}. Output, likewise: {value}, or {kind, message}; and {ms}.
const jsonata = require(process.argv[2]);

const isObject = (value) => typeof value === 'object' && value !== null;

function isJson(value) {
    if (!isObject(value)) {
        return typeof value !== 'function' && (typeof value !== 'number' || Number.isFinite(value));
    }
    return !value._jsonata_function && !value._jsonata_lambda && Object.values(value).every(isJson);
}

function outcomeOf(value) {
    if (value === undefined) {
        return {kind: 'undefined', message: ''};
    }
    return isJson(value) ? {value} : {kind: 'unsupported', message: ''};
}

async function evaluated({expression, bindings, times}) {
    try {
        const program = jsonata(expression);
        // The laptop cloud has such callbacks, and they decide which of two errors at the same time comes first.
        program.assign(Symbol.for('jsonata.__evaluate_entry'), () => undefined);
        program.assign(Symbol.for('jsonata.__evaluate_exit'), () => undefined);
        const outcome = outcomeOf(await program.evaluate(undefined, bindings));
        const start = process.hrtime.bigint();
        for (let round = 0; round < times; round++) {
            await program.evaluate(undefined, bindings);
        }
        return {...outcome, ms: Number(process.hrtime.bigint() - start) / 1e6 / times};
    } catch (error) {
        return error.code ? {kind: 'threw', message: `${error.code}: ${error.message}`} : {kind: 'internal', message: ''};
    }
}

(async () => {
    for await (const line of require('readline').createInterface({input: process.stdin})) {
        console.log(JSON.stringify(await evaluated(JSON.parse(line))));
    }
})();
