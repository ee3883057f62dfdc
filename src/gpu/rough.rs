//! Rough arithmetic: runs the same shaders as on a GPU whose arithmetic is as inexact as WGSL allows. For
//! tests only.
//!
//! Software adapters divide and take roots exactly, and round each product: a formula that relies on
//! this passes there, and fails on a GPU. In a [`Mode`] each quotient and root is off, in one direction
//! or in both, and products are fused with sums, or not. The expressions are found by their types in
//! naga's representation of a shader; [`accuracy`] has their replacements, and the error bounds.
//!
//! `ZTILDE_ROUGH=up-fused cargo test --lib -- kernels:: fused::` runs the kernels' tests in a mode; [`with`]
//! runs a part of a test.

mod accuracy;
mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::OnceLock;

use naga::front::wgsl::{Frontend, Options};
use naga::valid::{
    Capabilities, FunctionInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator,
};
use naga::{
    BinaryOperator, Block, Expression, Function, Handle, Module, Range, ScalarKind, Span,
    Statement, TypeInner,
};
use wgpu::Device;

use crate::plan::DeviceClass;

/// The kind of inexact arithmetic, chosen by an environment variable or by [`with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    direction: Direction,
    products: Products,
}

/// The direction of the error: away from zero, toward zero, or either, depending on the bits of the
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
    Mixed,
}

/// Whether a product is rounded before an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Products {
    /// Never: a compiler may contract product and sum.
    Fused,
    /// Always, as on software adapters, even in `fma`: WGSL allows `fma` to round twice.
    Apart,
}

impl Mode {
    pub(crate) const ALL: [Self; 6] = [
        Self { direction: Direction::Up, products: Products::Fused },
        Self { direction: Direction::Down, products: Products::Fused },
        Self { direction: Direction::Mixed, products: Products::Fused },
        Self { direction: Direction::Up, products: Products::Apart },
        Self { direction: Direction::Down, products: Products::Apart },
        Self { direction: Direction::Mixed, products: Products::Apart },
    ];

    /// One mode for each direction, for tests that are slow.
    pub(crate) const EACH_DIRECTION: [Self; 3] = [Self::ALL[0], Self::ALL[4], Self::ALL[5]];

    /// `up-fused`.
    fn name(self) -> String {
        format!("{:?}-{:?}", self.direction, self.products).to_lowercase()
    }

    fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    fn from_environment() -> Option<Self> {
        let name = std::env::var("ZTILDE_ROUGH").ok()?;
        let names = Self::ALL.map(Self::name).join(", ");
        Some(
            Self::find(&name)
                .unwrap_or_else(|| panic!("ZTILDE_ROUGH={name} is not one of {names}")),
        )
    }
}

thread_local! {
    static MODE: Cell<Option<Mode>> = const { Cell::new(None) };
}

/// Calls `run`. The kernels that it compiles in this thread keep the mode, even if they run later.
pub(crate) fn with<T>(mode: Mode, run: impl FnOnce() -> T) -> T {
    let before = MODE.replace(Some(mode));
    let result = run();
    MODE.set(before);
    result
}

/// A shader's text with the mode, if any, as its first line, so that pipelines of different modes have
/// different texts and are not shared. A GPU's arithmetic is rough already.
pub(super) fn marked(device: &Device, text: &str) -> String {
    static FROM_ENVIRONMENT: OnceLock<Option<Mode>> = OnceLock::new();
    let mode = MODE.get().or_else(|| *FROM_ENVIRONMENT.get_or_init(Mode::from_environment));
    match mode.filter(|_| DeviceClass::from(device).is_software()) {
        Some(mode) => format!("// {}\n{text}", mode.name()),
        None => text.to_owned(),
    }
}

/// The module of a marked text, in its mode.
pub(super) fn module(marked: &str) -> Option<Module> {
    let mode = Mode::find(marked.lines().next()?.strip_prefix("// ")?)?;
    // wgpu will report a text that is not a shader.
    Some(rough(parse(&(accuracy::text(mode) + marked))?, mode))
}

fn parse(text: &str) -> Option<Module> {
    let options = Options { parse_doc_comments: false, capabilities: Capabilities::all() };
    Frontend::new_with_options(options).parse(text).ok()
}

fn rough(mut module: Module, mode: Mode) -> Module {
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{error:?}"));
    let helpers: HashMap<String, Handle<Function>> = module
        .functions
        .iter()
        .filter_map(|(handle, function)| Some((function.name.clone()?, handle)))
        .filter(|(name, _)| name.starts_with(accuracy::PREFIX))
        .collect();
    let calls = |function: &Function, info: &FunctionInfo| {
        Finder { module: &module, function, info, helpers: &helpers, mode }.calls()
    };
    let of_functions: Vec<_> = module
        .functions
        .iter()
        .filter(|(handle, _)| !helpers.values().any(|helper| helper == handle))
        .map(|(handle, function)| (handle, calls(function, &info[handle])))
        .collect();
    let of_entry_points: Vec<_> = module
        .entry_points
        .iter()
        .enumerate()
        .map(|(index, entry)| calls(&entry.function, info.get_entry_point(index)))
        .collect();
    for (handle, calls) in of_functions {
        insert(&mut module.functions[handle], &calls);
    }
    for (entry, calls) in module.entry_points.iter_mut().zip(of_entry_points) {
        insert(&mut entry.function, &calls);
    }
    module
}

/// The calls that replace expressions, each a helper and its arguments.
type Calls = HashMap<Handle<Expression>, (Handle<Function>, Vec<Handle<Expression>>)>;

/// Finds the expressions of a function that shall be inexact.
struct Finder<'a> {
    module: &'a Module,
    function: &'a Function,
    info: &'a FunctionInfo,
    helpers: &'a HashMap<String, Handle<Function>>,
    mode: Mode,
}

impl Finder<'_> {
    fn calls(&self) -> Calls {
        let call = |handle| {
            let (helper, arguments) = self.call(handle)?;
            let sizes = arguments.iter().map(|&argument| self.size(argument).unwrap_or_default());
            let name = accuracy::name(helper, &sizes.collect::<Vec<_>>());
            let function = self.helpers.get(&name).unwrap_or_else(|| panic!("no helper {name}"));
            Some((handle, (*function, arguments)))
        };
        self.function.expressions.iter().filter_map(|(handle, _)| call(handle)).collect()
    }

    /// The helper that replaces an expression, and its arguments.
    fn call(&self, handle: Handle<Expression>) -> Option<(&'static str, Vec<Handle<Expression>>)> {
        self.size(handle)?;
        match self.function.expressions[handle] {
            Expression::Binary { op, left, right } => self.call_for_binary(op, left, right),
            Expression::Math { fun, arg, arg1, arg2, .. } => {
                let arguments = [Some(arg), arg1, arg2].into_iter().flatten().collect();
                accuracy::of(fun, self.mode).map(|helper| (helper, arguments))
            }
            _ => None,
        }
    }

    fn call_for_binary(
        &self,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Option<(&'static str, Vec<Handle<Expression>>)> {
        match (op, self.mode.products) {
            (BinaryOperator::Divide, _) => Some(("quotient", vec![left, right])),
            (BinaryOperator::Modulo, _) => panic!("the accuracy of a float's % is not known here"),
            (BinaryOperator::Add | BinaryOperator::Subtract, Products::Fused) => {
                self.fused(op, left, right)
            }
            _ => None,
        }
    }

    /// A sum or difference of a product and something else; of two products, one is rounded.
    fn fused(
        &self,
        op: BinaryOperator,
        left: Handle<Expression>,
        right: Handle<Expression>,
    ) -> Option<(&'static str, Vec<Handle<Expression>>)> {
        let [plus_left, plus_right] = match op {
            BinaryOperator::Add => ["plus", "plus"],
            _ => ["minus", "from"],
        };
        let of_left = self.product(left).map(|[a, b]| (plus_left, vec![a, b, right]));
        let of_right = self.product(right).map(|[a, b]| (plus_right, vec![a, b, left]));
        match self.mode.direction {
            Direction::Mixed => of_right.or(of_left),
            _ => of_left.or(of_right),
        }
    }

    /// The factors of a product of numbers or vectors. A product with a matrix is a sum already.
    fn product(&self, handle: Handle<Expression>) -> Option<[Handle<Expression>; 2]> {
        match self.function.expressions[handle] {
            Expression::Binary { op: BinaryOperator::Multiply, left, right } => {
                (self.size(left).is_some() && self.size(right).is_some()).then_some([left, right])
            }
            _ => None,
        }
    }

    /// The number of floats, if the expression is a float or a vector of floats.
    fn size(&self, handle: Handle<Expression>) -> Option<usize> {
        let (scalar, size) = match *self.info[handle].ty.inner_with(&self.module.types) {
            TypeInner::Scalar(scalar) => (scalar, 1),
            TypeInner::Vector { size, scalar } => (scalar, size as usize),
            _ => return None,
        };
        (scalar.kind == ScalarKind::Float).then_some(size)
    }
}

/// Replaces the expressions by calls, where they are evaluated.
fn insert(function: &mut Function, calls: &Calls) {
    let body = std::mem::take(&mut function.body);
    function.body = with_calls(function, body, calls);
}

fn with_calls(function: &mut Function, block: Block, calls: &Calls) -> Block {
    let mut result = Block::new();
    for (statement, span) in block.span_into_iter() {
        let mut nested = |block: Block| with_calls(function, block, calls);
        let statement = match statement {
            Statement::Emit(range) => {
                emit(function, range, calls, span, &mut result);
                continue;
            }
            Statement::Block(block) => Statement::Block(nested(block)),
            Statement::If { condition, accept, reject } => {
                let [accept, reject] = [accept, reject].map(nested);
                Statement::If { condition, accept, reject }
            }
            Statement::Switch { selector, mut cases } => {
                for case in &mut cases {
                    case.body = nested(std::mem::take(&mut case.body));
                }
                Statement::Switch { selector, cases }
            }
            Statement::Loop { body, continuing, break_if } => {
                let [body, continuing] = [body, continuing].map(nested);
                Statement::Loop { body, continuing, break_if }
            }
            other => other,
        };
        result.push(statement, span);
    }
    result
}

/// Evaluates these expressions; a replaced expression becomes the result of its call.
fn emit(
    function: &mut Function,
    range: Range<Expression>,
    calls: &Calls,
    span: Span,
    result: &mut Block,
) {
    let mut first = range.index_range().start;
    let end = range.index_range().end;
    for handle in range {
        let Some((helper, arguments)) = calls.get(&handle) else { continue };
        let index = handle.index() as u32;
        if first < index {
            let before = Range::from_index_range(first..index, &function.expressions);
            result.push(Statement::Emit(before), span);
        }
        function.expressions[handle] = Expression::CallResult(*helper);
        let (function, arguments) = (*helper, arguments.clone());
        result.push(Statement::Call { function, arguments, result: Some(handle) }, span);
        first = index + 1;
    }
    if first < end {
        result.push(
            Statement::Emit(Range::from_index_range(first..end, &function.expressions)),
            span,
        );
    }
}
