// What Step Functions adds to JSONata, and the calls of cloud/stepfunctions/expressions.py. The engine loads this file
// after jsonata.min.js, which expects either Node.js or a browser's window with btoa and atob.
var window = globalThis;
window.btoa = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0)).toBase64();
window.atob = (text) => Array.from(Uint8Array.fromBase64(text), (byte) => String.fromCharCode(byte)).join('');

var states = (() => {
    'use strict';

    const isObject = (value) => typeof value === 'object' && value !== null;
    const children = (node) => (isObject(node) ? Object.values(node).filter(isObject) : []);

    // --- limits ----------------------------------------------------------------------------------

    // AWS evaluates with the limits that JSONata's own tests use: on time, and on the depth of nested evaluations.
    const MAX_MILLISECONDS = 1000;
    const MIN_STEPS = 10000; // With fewer steps it is a busy machine that took the time.
    const MAX_DEPTH = 100;
    // Seen on AWS: [1..873782] and a text of 2^22 letters are accepted, one number more and 2^23 letters are refused.
    const MAX_ITEMS = 873782;
    const MAX_LETTERS = 8 * MAX_ITEMS;
    const MAX_RANGE = 360145; // Seen on AWS: the items of the longest $range.
    const LIMIT = 'U1001';

    const exceeded = (limit) => ({code: LIMIT, message: limit}); // expressions.py has the words of the limits.

    let running = null; // the evaluation in progress: its steps, when it must end, and the depth of its part that ended last

    // JSONata evaluates the items of an array and the members of an object at the same time, so a counter would take
    // width for depth. Each frame of variables keeps the depth of each part of the syntax tree that is evaluated in it;
    // the depth of a part is one more than that of the part around it.
    const NOT_EVALUATED = ['filter', 'index', 'sort']; // These only hold parts.

    function place(node, around) {
        if (typeof node.type !== 'string' || NOT_EVALUATED.includes(node.type)) {
            children(node).forEach((child) => place(child, around));
            return;
        }
        // The body of a function is evaluated where it is called.
        children(node).forEach((child) => place(child, node.type === 'lambda' && child === node.body ? undefined : node));
        node.around = around;
    }

    function makeFrame(outer, frame) {
        frame.outer = outer;
    }

    function depthOf(node, frame) {
        for (let each = frame; node && each; each = each.outer) {
            const depth = each.depths?.get(node);
            if (depth !== undefined) {
                return depth;
            }
        }
        return undefined;
    }

    function checkTime() {
        if (++running.steps > MIN_STEPS && Date.now() > running.end) {
            throw exceeded('time');
        }
    }

    function enter(expression, _input, frame) {
        // The call of a function has just evaluated an argument, or the function itself.
        const around = depthOf(expression.around, frame);
        const depth = around === undefined ? running.depth : around + 1;
        (frame.depths ??= new Map()).set(expression, depth);
        if (depth > MAX_DEPTH) {
            throw exceeded('depth');
        }
        checkTime();
    }

    function exit(expression, _input, frame, result) {
        running.depth = frame.depths.get(expression);
        if (Array.isArray(result) ? result.length > MAX_ITEMS : typeof result === 'string' && result.length > MAX_LETTERS) {
            throw exceeded('memory');
        }
        checkTime();
    }

    // --- the functions of Step Functions -----------------------------------------------------------

    const mismatch = (token, index) => ({code: 'T0410', token, index});
    const invalid = (message) => ({code: 'D3137', message});

    function refuseMore(given, name, most) {
        if (given.length > most) {
            throw mismatch(name, most + 1);
        }
    }

    // Step Functions rounds towards zero.
    function whole(value, name, index) {
        if (typeof value !== 'number') {
            throw mismatch(name, index);
        }
        return Math.trunc(value);
    }

    function partition(list, size) {
        refuseMore(arguments, 'partition', 2);
        if (list === undefined) {
            return undefined;
        }
        if (!Array.isArray(list)) {
            throw {code: 'T0412', token: 'partition', index: 1};
        }
        const length = size === undefined ? list.length : whole(size, 'partition', 2);
        if (length < 0) {
            throw invalid('Second argument must be zero or greater');
        }
        if (length === 0 || list.length === 0) {
            return undefined;
        }
        const chunks = [];
        for (let start = 0; start < list.length; start += length) {
            chunks.push(list.slice(start, start + length));
        }
        return chunks;
    }

    function range(start, end, step) {
        refuseMore(arguments, 'range', 3);
        const [first, last] = [whole(start, 'range', 1), whole(end, 'range', 2)];
        const by = step === undefined ? 0 : whole(step, 'range', 3);
        const count = by === 0 ? 0 : Math.floor((last - first) / by) + 1;
        if (count > MAX_RANGE) {
            throw exceeded('memory');
        }
        const items = Array.from({length: Math.max(count, 0)}, (_, index) => first + index * by);
        // In a sequence, JSONata takes no item for nothing and one item for the item, as AWS does here.
        return Object.defineProperty(items, 'sequence', {enumerable: false, value: true});
    }

    function hash(text, algorithm) {
        refuseMore(arguments, 'hash', 2);
        if (arguments.length === 0 || (text !== undefined && typeof text !== 'string')) {
            throw mismatch('hash', 1);
        }
        if (text === undefined || algorithm === undefined) {
            return undefined;
        }
        if (typeof algorithm !== 'string') {
            throw mismatch('hash', 2);
        }
        if (!['SHA-1', 'SHA-384', 'SHA-256', 'SHA-512', 'MD5'].includes(algorithm)) {
            throw invalid(`Hash algorithm '${algorithm}' must be one of SHA-1, SHA-384, SHA-256, SHA-512, MD5`);
        }
        return states.digest(text, algorithm); // Python answers; JSONata awaits the promise.
    }

    // With a seed, AWS gives the first number of java.util.Random: a linear congruence modulo 2^48.
    function random(seed) {
        refuseMore(arguments, 'random', 1);
        if (seed === undefined) {
            return Math.random();
        }
        const [factor, mask] = [0x5deece66dn, (1n << 48n) - 1n];
        let state = (BigInt(whole(seed, 'random', 1)) ^ factor) & mask;
        const next = (bits) => {
            state = (state * factor + 0xbn) & mask;
            return Number(state >> BigInt(48 - bits));
        };
        return (next(26) * 2 ** 27 + next(27)) / 2 ** 53;
    }

    function uuid() {
        refuseMore(arguments, 'uuid', 0);
        return 'xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx'.replace(/[xy]/g, (kind) => {
            const digit = Math.floor(Math.random() * 16);
            return (kind === 'x' ? digit : (digit & 3) | 8).toString(16);
        });
    }

    function parse(text) {
        refuseMore(arguments, 'parse', 1);
        if (text === undefined) {
            return undefined;
        }
        if (typeof text !== 'string') {
            throw mismatch('parse', 1);
        }
        let value;
        try {
            value = JSON.parse(text);
        } catch {
            throw invalid('Invalid JSON');
        }
        // AWS refuses repeated names, which JavaScript drops, and numbers that are too large.
        const names = text.match(/"(?:[^"\\]|\\.)*"\s*:?/g) ?? [];
        if (!isFinite(value) || countNames(value) < names.filter((name) => name.endsWith(':')).length) {
            throw invalid('Invalid JSON');
        }
        return value;
    }

    // --- where AWS differs from the reference ------------------------------------------------------------

    // Replace the implementation of one of JSONata's functions, in the one object that all expressions share. JSONata
    // reads the names and the number of parameters, for $f(?) and for functions that are handed to $map.
    function amend(name, makeFrom) {
        jsonata(`$${name}`).evaluate().then((shared) => {
            const reference = shared.implementation;
            shared.implementation = makeFrom(reference);
            Object.defineProperty(shared.implementation, 'length', {value: reference.length});
            shared.implementation.toString = () => reference.toString();
        });
    }

    // The reference fails inside on a picture without any digit; AWS names the rule that the picture breaks.
    amend('formatNumber', (reference) => function (...values) {
        try {
            return reference.apply(this, values);
        } catch (error) {
            throw error instanceof TypeError ? {code: /[^;]/.test(values[1]) ? 'D3086' : 'D3085'} : error;
        }
    });

    // AWS's guide: functions that require whole numbers round others. The reference does so in some places only.
    const rounded = (value, index) => (index > 0 && typeof value === 'number' ? Math.trunc(value) : value);
    for (const name of ['formatBase', 'match', 'pad', 'replace', 'round', 'split', 'substring']) {
        amend(name, (reference) => function (...values) {
            return reference.apply(this, values.map(rounded));
        });
    }

    // --- the results -------------------------------------------------------------------------------

    function isFinite(value) {
        return isObject(value) ? Object.values(value).every(isFinite) : typeof value !== 'number' || Number.isFinite(value);
    }

    function countNames(value) {
        const inner = isObject(value) ? Object.values(value).reduce((sum, item) => sum + countNames(item), 0) : 0;
        return isObject(value) && !Array.isArray(value) ? inner + Object.keys(value).length : inner;
    }

    let hasLargeNumbers = false;
    let hasInfinity = false;

    // Functions of JSONata are objects with one of two marks. The loops are six times as fast as for … in.
    function isJson(value) {
        if (typeof value === 'number') {
            hasLargeNumbers ||= Math.abs(value) >= 2 ** 53;
            hasInfinity ||= Math.abs(value) === Infinity;
            return !Number.isNaN(value);
        }
        if (!isObject(value)) {
            return typeof value !== 'function';
        }
        if (value._jsonata_function || value._jsonata_lambda) {
            return false;
        }
        const items = Array.isArray(value) ? value : Object.values(value);
        for (let index = 0; index < items.length; index++) {
            if (!isJson(items[index])) {
                return false;
            }
        }
        return true;
    }

    const asText = (value) => (value === Infinity || value === -Infinity ? String(value) : value);

    const tell = (kind, message = '') => `!${JSON.stringify({kind, message})}`;

    function succeed(value) {
        if (value === undefined) {
            return tell('undefined');
        }
        hasLargeNumbers = hasInfinity = false;
        if (!isJson(value)) {
            return tell('unsupported');
        }
        // Seen on AWS: infinity is written as text.
        const text = hasInfinity ? JSON.stringify(value, (_, item) => asText(item)) : JSON.stringify(value);
        return `${hasLargeNumbers ? '#' : '='}${text}`;
    }

    function fail(error) {
        if (error?.code === LIMIT) {
            return tell('limit', error.message);
        }
        if (error instanceof RangeError && /call stack|string length/.test(error.message)) { // These are V8's own limits.
            return tell('limit', error.message.includes('stack') ? 'depth' : 'memory');
        }
        return error?.code ? tell('threw', `${error.code}: ${error.message}`) : tell('internal', `${error?.message ?? error}`);
    }

    // --- what an expression refers to ----------------------------------------------------------------

    const isPlain = (step) => step.type === 'name' && !['predicate', 'group', 'focus', 'index'].some((name) => name in step);

    // Return the parts of variables that a syntax tree reads, as a tree of names; null stands for a whole value.
    function reads(tree) {
        const found = {};
        let wholes = false; // Whether the operator for parents is used, which may reach anything.
        const add = (path) => {
            let [parts, last] = [found, path.length - 1];
            for (const [index, name] of path.entries()) {
                if (parts[name] === null || index === last) {
                    parts[name] = null;
                    return;
                }
                parts = parts[name] ??= {};
            }
        };
        const walk = (node) => {
            wholes ||= node.type === 'parent';
            const [first, ...rest] = node.type === 'path' ? node.steps : [node];
            if (first?.type === 'variable') {
                const path = [first.value];
                if (!('predicate' in first || 'group' in first || 'focus' in first || 'index' in first)) {
                    for (const step of rest) {
                        if (!isPlain(step)) {
                            break;
                        }
                        path.push(step.value);
                        if ('stages' in step) {
                            break;
                        }
                    }
                }
                add(path);
                children(first).forEach(walk);
                children({...node, steps: rest}).forEach(walk);
            } else {
                children(node).forEach(walk);
            }
        };
        walk(tree);
        return wholes ? Object.fromEntries(Object.keys(found).map((name) => [name, null])) : found;
    }

    // Return what a syntax tree reads of the context, which Step Functions does not have: only the first step of a path
    // is evaluated in it, and the body of a function.
    function contextReads(tree) {
        const names = new Set();
        const each = (nodes) => nodes.forEach(walk);
        const walk = (node) => {
            switch (node?.type) {
                case 'path': return walk(node.steps[0]);
                case 'name': return names.add(node.value);
                case 'variable': return node.value === '' || node.value === '$' ? names.add(`$${node.value}`) : undefined;
                case 'unary': return each(node.expressions ?? node.lhs?.flat() ?? [node.expression]);
                case 'binary': case 'apply': return each([node.lhs, node.rhs]);
                case 'function': case 'partial': return each([node.procedure, ...node.arguments]);
                case 'lambda': return walk(node.body);
                case 'condition': return each([node.condition, node.then, node.else]);
                case 'block': return each(node.expressions);
                case 'bind': return walk(node.rhs);
            }
        };
        walk(tree);
        return [...names];
    }

    // --- the calls of Python ---------------------------------------------------------------------------

    const compiled = new Map();
    let outcome;

    return {
        // Return what an expression refers to; under the key error, why it is no expression.
        compile(expression) {
            try {
                const program = jsonata(expression);
                program.assign('eval', undefined);
                program.assign(Symbol.for('jsonata.__createFrame_push'), makeFrame);
                program.assign(Symbol.for('jsonata.__evaluate_entry'), enter);
                program.assign(Symbol.for('jsonata.__evaluate_exit'), exit);
                for (const added of [partition, range, hash, random, uuid, parse]) {
                    program.registerFunction(added.name, added);
                }
                compiled.set(expression, program);
                const facts = JSON.stringify({reads: reads(program.ast()), context: contextReads(program.ast())});
                place(program.ast());
                return facts;
            } catch (error) {
                if (error instanceof RangeError) {
                    return JSON.stringify({problem: 'depth', code: LIMIT}); // It is nested too deep for the parser.
                }
                return JSON.stringify({problem: `${error?.message ?? error}`, code: error?.code ?? ''});
            }
        },
        // Begin an evaluation. It ends before the engine's next call, unless it waits for Python.
        start(expression, bindings) {
            const mine = running = {depth: 1, steps: 0, end: Date.now() + MAX_MILLISECONDS};
            const end = (tell) => (result) => {
                if (mine === running) {
                    outcome = tell(result);
                }
            };
            outcome = '';
            compiled.get(expression).evaluate(undefined, JSON.parse(bindings)).then(end(succeed), end(fail)).catch(end(fail));
        },
        // Return the outcome of the last evaluation, or an empty text while it waits for Python.
        outcome: () => outcome,
    };
})();
