use super::*;

fn term(text: &str) -> Term {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn spec(text: &str) -> MatchSpec {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn gives(head: &str, guards: &str, result: &str, object: &str, expected: &str) {
    let text = format!("[{{{head},{guards},[{result}]}}]");
    assert_eq!(
        spec(&text).run(&term(object)),
        Some(term(expected)),
        "{text}"
    );
}

/// What an expression comes to as a result, with the object `{1,a}`.
#[track_caller]
fn is(result: &str, expected: &str) {
    gives("{'$1','$2'}", "[]", result, "{1,a}", expected);
}

/// Whether it holds as a guard.
#[track_caller]
fn holds(guard: &str, expected: bool) {
    let spec = spec(&format!("[{{{{'$1','$2'}},[{guard}],['$_']}}]"));
    assert_eq!(spec.run(&term("{1,a}")).is_some(), expected, "{guard}");
}

#[track_caller]
fn fails(text: &str, expected: MatchSpecError) {
    assert_eq!(
        text.parse::<MatchSpec>().map(|_| ()),
        Err(expected),
        "{text}"
    );
}

#[test]
fn the_first_clause_that_fits_says_what_comes_of_an_object() {
    let spec = spec("[{{'$1',a},[],['$1']},{{'$1','_'},[{'>','$1',1}],[more]},{'_',[],[rest]}]");
    assert_eq!(spec.run(&term("{1,a}")), Some(term("1")));
    assert_eq!(spec.run(&term("{2,b}")), Some(term("more")));
    assert_eq!(spec.run(&term("{1,b}")), Some(term("rest")));
    assert_eq!(
        MatchSpec::new(Term::list::<Term>([])).map(|spec| spec.run(&term("{1}"))),
        Ok(None)
    );
}

#[test]
fn a_pattern_fits_what_has_its_shape_and_the_same_values() {
    let fits = |pattern: &str, object: &str| {
        let pattern: MatchPattern = pattern.parse().unwrap();
        pattern.fits(&term(object))
    };
    assert!(fits("{1,'_'}", "{1,[x]}"));
    assert!(!fits("{1,'_'}", "{1.0,[x]}"));
    assert!(!fits("{1,'_'}", "{1,2,3}"));
    assert!(!fits("{'_'}", "['_']"));
    assert!(fits("['$1',{'$1'}]", "[[a],{[a]}]"));
    assert!(!fits("['$1',{'$1'}]", "[1,{1.0}]"));
    assert!(fits("{'$01','$1'}", "{1,1}"));
    assert!(!fits("{'$01','$1'}", "{1,2}"));
    // At least these keys, also if all of it is known.
    assert!(fits("{'_',#{a => 1}}", "{1,#{a => 1,b => 2}}"));
    assert!(fits(
        "{'_',#{a => '$1', b => {'_'}}}",
        "{1,#{a => 1,b => {2}}}"
    ));
    assert!(!fits("{'_',#{a => 1}}", "{1,#{a => 1.0}}"));
    assert!(!fits("{'_',#{a => '_'}}", "{1,#{b => 1}}"));
    assert!(fits("#{}", "#{b => 1}"));
    // No variables: '$' and what is no number.
    assert!(fits("{'$_','$$','$a','$'}", "{'$_','$$','$a','$'}"));
}

#[test]
fn values_are_in_the_order_of_the_numbers_of_the_variables() {
    let pattern: MatchPattern = "{'$2','$10',['$1']}".parse().unwrap();
    assert_eq!(pattern.values(&term("{b,c,[a]}")), Some(term("[a,b,c]")));
    gives("{'$2','$1'}", "[]", "'$$'", "{1,2}", "[2,1]");
}

#[test]
fn results_are_built_of_what_was_found() {
    is("'$_'", "{1,a}");
    is("{{'$2',{{}},[{'+','$1',1}]}}", "{a,{},[2]}");
    is("#{'$2' => {{'$1'}}}", "#{a => {1}}");
    is("{const,{'$1','_'}}", "{'$1','_'}");
    is("'_'", "'_'");
    is("1,2,'$1'", "1");
}

#[test]
fn what_a_function_cannot_do_is_exit_in_a_result_and_fails_in_a_guard() {
    is("{'+','$2',1}", "'EXIT'");
    is("{{x,{'+','$2',1}}}", "{x,'EXIT'}");
    is("{'+',{'+','$2',1},1}", "'EXIT'");
    is("{is_atom,{hd,[]}}", "true");
    holds("{'orelse',{is_atom,{hd,[]}},true}", false);
    holds("{'orelse',true,{is_atom,{hd,[]}}}", true);
    holds("{'or',true,{is_atom,{hd,[]}}}", false);
    for guard in ["false", "1", "foo", "'$2'", "{'andalso',true,1}", "'$_'"] {
        holds(guard, false);
    }
    holds("true", true);
}

#[test]
fn functions_give_what_erlangs_do() {
    // As OTP 25.2.3 answers, but for the last ones of each kind.
    for (call, value) in [
        ("{'==',1,1.0}", "true"),
        ("{'/=',1,1.0}", "false"),
        ("{'=:=',1,1.0}", "false"),
        ("{'=/=',1,1.0}", "true"),
        ("{'<',1,a}", "true"),
        ("{'=<',1.0,1}", "true"),
        ("{'>',1,2}", "false"),
        ("{'>=',1,2}", "false"),
        ("{'and',true}", "true"),
        ("{'and',true,1}", "'EXIT'"),
        ("{'or',true,false,false}", "true"),
        ("{'andalso',true,1}", "1"),
        ("{'andalso',1,true}", "'EXIT'"),
        ("{'andalso',false,1}", "false"),
        ("{'orelse',false,1}", "1"),
        ("{'orelse',true,1}", "true"),
        ("{'not',true}", "false"),
        ("{'not',1}", "'EXIT'"),
        ("{'xor',true,false}", "true"),
        ("{'xor',true,true}", "false"),
        ("{'+',1}", "1"),
        ("{'-',1}", "-1"),
        ("{'-',a}", "'EXIT'"),
        ("{'+',1,2.5}", "3.5"),
        ("{'*',2,3}", "6"),
        ("{'/',1,2}", "0.5"),
        ("{'/',1,0}", "'EXIT'"),
        ("{'/',0,0.0}", "'EXIT'"),
        ("{'div',7,-2}", "-3"),
        ("{'rem',-7,2}", "-1"),
        ("{'div',1,0}", "'EXIT'"),
        ("{'rem',1,0}", "'EXIT'"),
        ("{'div',7.0,2}", "'EXIT'"),
        ("{'rem',-9223372036854775808,-1}", "0"),
        ("{'band',6,3}", "2"),
        ("{'bor',6,3}", "7"),
        ("{'bxor',6,3}", "5"),
        ("{'bnot',1}", "-2"),
        ("{'bsl',1,3}", "8"),
        ("{'bsl',1,-1}", "0"),
        ("{'bsr',-5,1}", "-3"),
        ("{abs,-1}", "1"),
        ("{abs,-1.5}", "1.5"),
        ("{abs,a}", "'EXIT'"),
        ("{round,0.5}", "1"),
        ("{round,-2.5}", "-3"),
        ("{trunc,-1.5}", "-1"),
        ("{round,7}", "7"),
        ("{float,1}", "1.0"),
        ("{element,1,{const,{1}}}", "1"),
        ("{element,0,{const,{1}}}", "'EXIT'"),
        ("{element,2,{const,{1}}}", "'EXIT'"),
        ("{hd,[1]}", "1"),
        ("{tl,[1,2]}", "[2]"),
        ("{tl,[]}", "'EXIT'"),
        ("{length,[1]}", "1"),
        ("{length,a}", "'EXIT'"),
        ("{size,{const,{1,2}}}", "2"),
        ("{size,<<1>>}", "1"),
        ("{size,[]}", "'EXIT'"),
        ("{byte_size,<<1>>}", "1"),
        ("{bit_size,<<1>>}", "8"),
        ("{map_size,#{}}", "0"),
        ("{map_get,a,#{a => 1}}", "1"),
        ("{map_get,b,#{a => 1}}", "'EXIT'"),
        ("{is_map_key,a,#{a => 1}}", "true"),
        ("{is_map_key,1,#{1.0 => 1}}", "false"),
        ("{is_map_key,a,1}", "'EXIT'"),
        ("{binary_part,<<1,2,3>>,1,1}", "<<2>>"),
        ("{binary_part,<<1,2,3>>,3,-2}", "<<2,3>>"),
        ("{binary_part,<<1>>,1,1}", "'EXIT'"),
        ("{is_record,{const,{r,1}},r,2}", "true"),
        ("{is_record,{const,{r,1}},r,1}", "false"),
        ("{is_atom,a}", "true"),
        ("{is_binary,<<1>>}", "true"),
        ("{is_float,1}", "false"),
        ("{is_function,1}", "false"),
        ("{is_integer,1}", "true"),
        ("{is_list,[]}", "true"),
        ("{is_map,#{}}", "true"),
        ("{is_number,1.0}", "true"),
        ("{is_pid,1}", "false"),
        ("{is_port,1}", "false"),
        ("{is_reference,1}", "false"),
        ("{is_tuple,'$_'}", "true"),
        // Beyond 64 bits.
        ("{'+',9223372036854775807,1}", "'EXIT'"),
        ("{'*',9223372036854775807,2}", "'EXIT'"),
        ("{'-',-9223372036854775808}", "'EXIT'"),
        ("{abs,-9223372036854775808}", "'EXIT'"),
        ("{'div',-9223372036854775808,-1}", "'EXIT'"),
        ("{'bsl',1,63}", "'EXIT'"),
        ("{round,1.0e30}", "'EXIT'"),
        ("{'*',1.0e300,1.0e300}", "'EXIT'"),
    ] {
        is(call, value);
    }
}

#[test]
fn what_is_malformed_is_refused_and_said_what_is_wrong() {
    use MatchSpecError::*;
    for text in [
        "a",
        "{'_',[],['$_']}",
        "[a]",
        "[{'_',[]}]",
        "[{'_',a,['$_']}]",
        "[{'_',[],a}]",
    ] {
        fails(text, NotASpec);
    }
    fails("[{'_',[],[]}]", NoResult);
    fails("[{{'$1'},[],['$2']}]", Unbound(2));
    fails("[{{'$1'},[{'==','$3',1}],['$1']}]", Unbound(3));
    fails(
        "[{{'$99999999999'},[],[a]}]",
        BadVariable(Term::atom("$99999999999")),
    );
    fails(
        "[{'_',[],[{foo,1}]}]",
        UnknownFunction {
            name: "foo".into(),
            arity: 1,
        },
    );
    fails(
        "[{'_',[{'==',1}],[1]}]",
        UnknownFunction {
            name: "==".into(),
            arity: 1,
        },
    );
    fails(
        "[{'_',[{self}],[1]}]",
        UnknownFunction {
            name: "self".into(),
            arity: 0,
        },
    );
    fails("[{'_',[],[{1,2}]}]", NotAnExpression(term("{1,2}")));
    fails("[{'_',[],[{}]}]", NotAnExpression(term("{}")));
    fails("[{{#{'$1' => 1}},[],[a]}]", VariableKey);
    fails("[{{#{{'_'} => 1}},[],[a]}]", VariableKey);
    assert!(matches!("[{".parse::<MatchSpec>(), Err(Syntax(_))));
    let spec = |number: f64| {
        MatchSpec::new(Term::list([(
            Term::atom("_"),
            Vec::<Term>::new(),
            Term::list([number]),
        )]))
    };
    assert_eq!(spec(f64::NAN).map(|_| ()), Err(NotFinite));
    assert_eq!(
        MatchPattern::new((f64::INFINITY,)).map(|_| ()),
        Err(NotFinite)
    );
}

#[test]
fn nesting_is_limited_where_it_must_be_looked_into_and_only_there() {
    let deep = |core: &str, depth| (0..depth).fold(term(core), |inner, _| Term::list([inner]));
    let many = if cfg!(miri) { 300 } else { 100_000 };
    assert_eq!(
        MatchPattern::new(deep("'_'", MAX_DEPTH + 1)).map(|_| ()),
        Err(MatchSpecError::TooDeep)
    );
    let pattern = MatchPattern::new(deep("'$1'", MAX_DEPTH)).unwrap();
    assert_eq!(pattern.values(&deep("a", MAX_DEPTH)), Some(term("[a]")));
    let pattern = MatchPattern::new(deep("a", many)).unwrap();
    assert!(pattern.fits(&deep("a", many)));
    let result = |result: Term| {
        MatchSpec::new(Term::list([(
            Term::atom("_"),
            Vec::<Term>::new(),
            Term::list([result]),
        )]))
    };
    assert!(result(deep("a", many)).is_ok());
    assert_eq!(
        result(deep("'$_'", MAX_DEPTH + 1)).map(|_| ()),
        Err(MatchSpecError::TooDeep)
    );
    assert!(result(Term::from((Term::atom("const"), deep("'$_'", many)))).is_ok());
}

#[test]
fn the_keys_that_can_fit_are_known() {
    let keys = |text: &str, keypos| match spec(text).reach(keypos) {
        Reach::All => "all".to_owned(),
        Reach::Keys(keys) => Term::list(keys).to_string(),
    };
    assert_eq!(keys("[{{1,'_'},[],[a]}]", 1), "[1]");
    assert_eq!(keys("[{{1,'_'},[],[a]}]", 2), "all");
    assert_eq!(keys("[{{1,'_'},[],[a]}]", 3), "[]");
    assert_eq!(keys("[{{1,2},[],[a]}]", 2), "[2]");
    assert_eq!(keys("[{{{1,'_'},2},[],[a]}]", 1), "all");
    assert_eq!(keys("[{{#{},2},[],[a]}]", 1), "all");
    assert_eq!(
        keys("[{{2,'_'},[],[a]},{{1,'_'},[],[b]},{{2,'$1'},[],[c]}]", 1),
        "[1,2]"
    );
    assert_eq!(keys("[{{2,'_'},[],[a]},{'_',[],[b]}]", 1), "all");
    assert_eq!(keys("[{['_'],[],[a]},{1,[],[b]}]", 1), "[]");
    assert_eq!(keys("[]", 1), "[]");
}

#[test]
fn whether_the_key_is_kept_is_seen_from_how_it_is_written() {
    for (text, keeps) in [
        ("[{{'$1','$2'},[],['$_']}]", true),
        ("[{'_',[],['$_']}]", true),
        ("[{{'$1','$2'},[],[{{'$1',x}}]}]", true),
        ("[{{'$1','$2'},[],[{{'$1'}}]}]", true),
        ("[{{'$1','$2'},[],[{{'$2',x}}]}]", false),
        ("[{{'_','$2'},[],[{{{element,1,'$_'},x}}]}]", true),
        ("[{{'_','$2'},[],[{{{element,2,'$_'},x}}]}]", false),
        ("[{{1,'$2'},[],[{{1,x}}]}]", true),
        ("[{{1,'$2'},[],[{{1.0,x}}]}]", false),
        ("[{{1,2},[],[{{1,x}}]}]", true),
        ("[{{1,'_'},[],[{const,{1,y}}]}]", true),
        ("[{{1,'_'},[],[{const,{2,y}}]}]", false),
        ("[{{{a,'$1'},'_'},[],[{{{{a,'$1'}},z}}]}]", true),
        ("[{{{a,'_'},'_'},[],[{{{{a,'_'}},z}}]}]", false),
        ("[{{{a,b},'_'},[],[{{{{a,b}},z}}]}]", true),
        ("[{{[a,'$1'],'_'},[],[{{[a,'$1'],z}}]}]", true),
        ("[{{'$1','$2'},[],['$1']}]", false),
        ("[{'$1',[],['$1']}]", false),
        ("[{{'$1','$2'},[],[{{}}]}]", false),
        ("[{{'$1','$2'},[],['$_','$_']}]", false),
        ("[{{'$1'},[],['$_']},{{'$1','$2'},[],[{{'$2'}}]}]", false),
        ("[{{#{a => 1},'_'},[],[{{#{a => 1},z}}]}]", false),
    ] {
        assert_eq!(spec(text).keeps_key(1), keeps, "{text}");
    }
    assert!(spec("[{{'$1','$2'},[],[{{x,'$2'}}]}]").keeps_key(2));
}
